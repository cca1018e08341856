"""The architecture: what may import what, and the diagram of docs/architecture.md."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import distribution
from itertools import pairwise
from pathlib import Path

import pytest
from pertharness.host.packages.fingerprint import HOST_ONLY

ROOT = Path(__file__).parents[1]
CORE = ROOT / "core" / "src" / "pertharness"
MODULES = sorted(CORE.rglob("*.py"))
WORKER_SIDE = [path for path in MODULES if "host" not in path.relative_to(CORE).parts]
HOST_SIDE = [path for path in MODULES if path not in WORKER_SIDE]
PAGE = ROOT / "docs" / "architecture.md"
HEAVY = {"anndata", "click", "h5py", "jinja2", "matplotlib", "pandas", "requests", "rich", "scipy", "torch"}
PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def import_nodes(path: Path, *, top_level_only: bool = False) -> list[ast.Import | ast.ImportFrom]:
    """Return the import statements of a file; those for type checking alone do not count."""
    tree = parsed(path)
    skipped = {
        id(inner) for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }  # fmt: skip
    nodes = tree.body if top_level_only else ast.walk(tree)
    return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in skipped]


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Return the dotted names that a file imports: modules, and what it takes from each."""
    names: set[str] = set()
    for node in import_nodes(path, top_level_only=top_level_only):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_both_sides_are_there() -> None:
    assert {"hookspecs.py", "canonical.py"} <= {path.name for path in WORKER_SIDE}
    assert {"runner.py", "planner.py"} <= {path.name for path in HOST_SIDE}


def test_the_worker_side_imports_nothing_of_the_host_side() -> None:
    wrong = {path: [name for name in imports(path) if name.startswith("pertharness.host")] for path in WORKER_SIDE}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_the_worker_side_imports_nothing_that_only_the_host_side_requires() -> None:
    modules = {name.replace("-", "_") for name in HOST_ONLY}
    wrong = {path: modules & {name.split(".")[0] for name in imports(path)} for path in WORKER_SIDE}
    assert not {path: names for path, names in wrong.items() if names}
    required = {re.split("[^A-Za-z0-9_-]", text)[0] for text in distribution("pertharness").requires or []}
    assert required >= HOST_ONLY


def test_the_worker_side_imports_nothing_heavy_at_import() -> None:
    first = {path: {name.split(".")[0] for name in imports(path, top_level_only=True)} for path in WORKER_SIDE}
    assert {path: names & HEAVY for path, names in first.items() if names & HEAVY} == {}


def test_the_host_imports_no_plugin_and_unpickles_nothing() -> None:
    plugins = ("pertharness.datasets", "pertharness_")
    wrong = {
        path: [name for name in imports(path) if name.startswith(plugins) or name in PICKLES] for path in HOST_SIDE
    }
    assert {path: names for path, names in wrong.items() if names} == {}


def test_loading_the_worker_brings_neither_click_nor_anndata() -> None:
    code = "import sys, pertharness.worker.__main__, pertharness.worker.stages; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "pertharness.worker.main" in loaded
    assert not {"click", "anndata", "pandas", "scipy"} & set(loaded)


def test_help_imports_no_command() -> None:
    code = (
        "import sys; sys.argv = ['pertharness', '--help']; from pertharness.host.cli import main\n"
        "try: main()\nfinally: print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "run" in run.stdout
    assert not {"pydantic", "numpy", "pandas", "anndata", "rich"} & set(run.stdout.splitlines()[-1].split())


def module_name(path: Path) -> str:
    """Return the dotted name of a module below `pertharness`; "" for the package itself."""
    parts = path.relative_to(CORE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path): path for path in MODULES}


def room_of(module: str) -> str:
    """Return the folder that a module lies in, below `host/` the folder in there; a module of the root is its own."""
    parts = module.split(".")
    return ".".join(parts[: 2 if parts[0] == "host" else 1])


def import_graph() -> dict[str, set[str]]:
    """Return which modules of the core each module imports, those that its functions import included."""
    graph = {}
    for module, path in NAMES.items():
        imported = set()
        for node in import_nodes(path):
            source = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                whole = f"{source}.{alias.name}".strip(".")
                # What is no module of its own is a name in the module that it is taken from.
                name = whole if whole.removeprefix("pertharness.") in NAMES else source
                if name.startswith("pertharness."):
                    imported.add(name.removeprefix("pertharness."))
        graph[module] = imported - {module}
    return graph


def room_graph() -> dict[str, set[str]]:
    """Return which rooms each room imports from; the package itself, which only names what is public, is left out."""
    graph: dict[str, set[str]] = defaultdict(set)
    for module, imported in import_graph().items():
        if module not in ("", "host"):
            graph[room_of(module)] |= {room_of(other) for other in imported} - {room_of(module)}
    return dict(graph)


def floors(graph: dict[str, set[str]]) -> dict[str, int]:
    """Return for each room the floor it stands on: 1, or the next above the highest that it imports from."""
    found: dict[str, int] = {}
    for room in TopologicalSorter(graph).static_order():
        found[room] = 1 + max((found[below] for below in graph[room]), default=0)
    return found


def drawn(graph: dict[str, set[str]]) -> str:
    """Return the diagram: a line per floor, on the left the rooms of the host."""
    floor_of = floors(graph)
    lines = ["     host/                                 | in every environment"]
    for floor in range(max(floor_of.values()), 0, -1):
        rooms = sorted(room for room, its_floor in floor_of.items() if its_floor == floor)
        host = "  ".join(room.removeprefix("host.") for room in rooms if room.startswith("host."))
        worker = "  ".join(room for room in rooms if not room.startswith("host."))
        lines.append(f"{floor:>3}  {host:<37} | {worker}".rstrip())
    return "\n".join(lines) + "\n"


def test_modules_import_each_other_in_no_circle() -> None:
    try:
        TopologicalSorter(import_graph()).prepare()
    except CycleError as error:
        pytest.fail("circle of modules, each imported by the next: " + " > ".join(error.args[1]))


def test_rooms_import_each_other_in_no_circle() -> None:
    graph = room_graph()
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        arrows = [
            f"{module} imports {other}"
            for imported, importing in pairwise(error.args[1])
            for module, others in import_graph().items() if room_of(module) == importing
            for other in others if room_of(other) == imported
        ]  # fmt: skip
        pytest.fail("circle of rooms:\n" + "\n".join(sorted(arrows)))


def test_the_diagram_shows_the_rooms_on_their_floors() -> None:
    (diagram,) = re.findall(r"^```text\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    expected = drawn(room_graph())
    assert diagram == expected, f"put this into {PAGE.name}, or undo the import that moved a room:\n{expected}"


def test_the_page_says_what_is_in_each_room() -> None:
    rows = re.findall(r"^\| `([a-z_/]+)/` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(room.replace(".", "/") for room in room_graph() if room != "version")


def test_files_that_the_page_names_are_there() -> None:
    named = set(re.findall(r"`([a-z_/.]+\.py)`", PAGE.read_text(encoding="utf-8")))
    assert named
    assert sorted(name for name in named if not any((folder / name).is_file() for folder in (CORE, ROOT))) == []


def test_an_argument_of_a_hook_is_passed_in_the_files_that_the_page_names() -> None:
    """Shown by `oracle`: outside of the host, which calls no hook, nothing but the argument of ``predict`` has it."""
    steps = PAGE.read_text(encoding="utf-8").partition("A new argument of a hook")[2].partition("\n\nAn argument")[0]
    named = re.findall(r"^\d\. `([a-z_/]+\.py)`", steps, re.MULTILINE)
    assert len(named) == 5
    outside = [path for path in MODULES if not path.is_relative_to(CORE / "host")]
    passing = {path.relative_to(CORE).as_posix() for path in outside if "oracle" in passed_names(path)}
    assert passing == {*named}


def passed_names(path: Path) -> set[str]:
    """Return the names of arguments, declared or passed, and the keys of dicts of a module."""
    names: set[str] = set()
    for node in ast.walk(parsed(path)):
        if (isinstance(node, ast.keyword) and node.arg) or isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Dict):
            names |= {key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
    return names


def test_a_name_is_that_of_two_modules_at_most() -> None:
    modules = defaultdict(list)
    for path in MODULES:
        if not path.name.startswith("__"):
            modules[path.name].append(path.relative_to(CORE).as_posix())
    assert {name: paths for name, paths in modules.items() if len(paths) > 2} == {}


def test_a_name_is_that_of_one_class() -> None:
    """What begins with an underscore is known to its module alone."""
    classes = defaultdict(list)
    for path in MODULES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append(path.relative_to(CORE).as_posix())
    assert {name: paths for name, paths in classes.items() if len(paths) > 1} == {}


def test_the_runner_starts_no_process_and_knows_no_machine() -> None:
    """What runs jobs lies behind `pertharness.host.execution.executor`, and can be another than this machine."""
    found = imports(CORE / "host" / "execution" / "runner.py") | imports(CORE / "host" / "execution" / "executor.py")
    rooms = {name.removeprefix("pertharness.host.execution.") for name in found}
    assert {"executor", "ready"} <= rooms
    assert not rooms & {
        "local",
        "gpus",
        "watch",
        "start",
        "sandbox",
        "limits",
        "subprocess",
        "select",
        "socket",
        "psutil",
    }


def test_only_the_executor_reads_the_hardware_of_its_machine() -> None:
    reading = {f"pertharness.host.execution.hardware.{name}" for name in ("read_machine", "find_gpus")}
    assert {path.name for path in HOST_SIDE if reading & {*imports(path)}} == {"local.py"}
