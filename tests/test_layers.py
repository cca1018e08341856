"""The architecture: what may import what."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "core" / "src" / "pertharness"
MODULES = sorted(CORE.rglob("*.py"))
WORKER_SIDE = [path for path in MODULES if "host" not in path.relative_to(CORE).parts]
HOST_SIDE = [path for path in MODULES if path not in WORKER_SIDE]
HEAVY = {"anndata", "click", "h5py", "jinja2", "matplotlib", "pandas", "requests", "rich", "scipy", "torch"}


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Return the modules that a file imports; those for type checking alone do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if top_level_only:
        nodes = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    else:
        nodes = list(ast.walk(tree))
    skipped = {
        id(inner) for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }  # fmt: skip
    found: set[str] = set()
    for node in nodes:
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_both_sides_are_there() -> None:
    assert {"hookspecs.py", "canonical.py"} <= {path.name for path in WORKER_SIDE}
    assert {"runner.py", "planner.py"} <= {path.name for path in HOST_SIDE}


@pytest.mark.parametrize("path", WORKER_SIDE, ids=lambda path: path.relative_to(CORE).as_posix())
def test_the_worker_side_imports_nothing_of_the_host_side(path: Path) -> None:
    assert not [name for name in imports(path) if name.startswith("pertharness.host")]


@pytest.mark.parametrize("path", WORKER_SIDE, ids=lambda path: path.relative_to(CORE).as_posix())
def test_the_worker_side_imports_nothing_heavy_at_import(path: Path) -> None:
    found = {name.split(".")[0] for name in imports(path, top_level_only=True)}
    assert not found & HEAVY


@pytest.mark.parametrize("path", HOST_SIDE, ids=lambda path: path.relative_to(CORE).as_posix())
def test_the_host_imports_no_plugin_and_unpickles_nothing(path: Path) -> None:
    found = imports(path)
    assert not [name for name in found if name.startswith(("pertharness.datasets", "pertharness_"))]
    assert not found & {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


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
