"""Environments of plugins, built by uv from wheels that the tests write: no index, no network, and nothing half."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from importlib.util import cache_from_source
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pertharness.contract.errors import BuildError
from pertharness.host.environments.build import build
from pertharness.host.environments.built import find_environments, merge
from pertharness.host.environments.folder import MARKER, Environment, Folder, fitness, site_packages
from pertharness.host.environments.interpreter import plugin_of
from pertharness.host.environments.lockfile import write_lock
from pertharness.host.environments.wheels import core_wheel, read_wheel
from pertharness.host.environments.wheels import requirement_name as name_of
from pertharness.host.execution.hardware import Gpu, Machine
from pertharness.host.execution.local import local_executor
from pertharness.host.packages.fingerprint import plugin_hash
from pertharness.host.plugins.registry import find_plugins, open_registry

if TYPE_CHECKING:
    from conftest import Shelf


def left(folder: Folder) -> list[str]:
    """Return what is in a folder of environments besides lock files."""
    return sorted(path.name for path in folder.root.iterdir() if path.suffix != ".lock")


def test_an_environment_holds_its_lock_the_plugin_and_the_worker_side(shelf: Shelf) -> None:
    built = shelf.build()
    place = shelf.envs.path_of(built)
    assert left(shelf.envs) == ["tiny-" + built.hash[:12], "tiny.json"]
    assert Environment.model_validate_json((place / MARKER).read_bytes()) == built == shelf.envs.current("tiny")
    assert built.packages["anndata"] == "99"
    assert built.packages["pertharness"] == version("pertharness")
    assert fitness(shelf.envs, built) == ("ok", "")
    package = site_packages(place) / "pertharness"
    assert (package / "worker" / "main.py").is_file()
    assert not (package / "host").exists()
    sources = list(site_packages(place).rglob("*.py"))
    assert {package / "worker" / "main.py", site_packages(place) / "pertharness_tiny" / "__init__.py"} <= {*sources}
    assert not [path for path in sources if not Path(cache_from_source(path)).is_file()]  # no job could write these
    assert not any(str(place.parent) in path.read_text() for path in site_packages(place).glob("*.pth"))


def test_the_lock_for_cuda_is_used_if_the_executor_has_a_gpu(shelf: Shelf) -> None:
    path = str(shelf.plugin(extra={"pertharness_tiny/requirements-cuda.lock": shelf.lock("# for CUDA")}))
    executor = local_executor(shelf.root)
    executor.machine = Machine(ram_gb=64, disk_gb=100)
    assert build(path, shelf.envs, executor=executor).lock == "requirements.lock"
    executor.machine = Machine(ram_gb=64, disk_gb=100, gpus=(Gpu("0", "H100", 80.0),))
    assert build(path, shelf.envs, executor=executor).lock == "requirements-cuda.lock"
    assert build(path, shelf.envs, executor=executor, cpu_only=True).lock == "requirements.lock"


def test_what_is_unchanged_is_used_and_what_changed_is_built_beside_it(shelf: Shelf) -> None:
    first = shelf.build()
    assert shelf.build() == first
    shelf.wheel(shelf.wheels, "more")
    second = shelf.build(lock=shelf.lock("# the same packages under another text"))
    assert second.folder != first.folder
    assert shelf.envs.current("tiny") == second
    assert len(shelf.envs.built()) == 2
    assert shelf.build() == first  # asked for again, it is in use again
    assert shelf.envs.current("tiny") == first
    assert shelf.envs.remove("tiny", old_only=True) == [second.folder]
    assert shelf.envs.remove("tiny") == [first.folder]
    assert left(shelf.envs) == []
    with pytest.raises(BuildError, match="no environment 'tiny'; available: none"):
        shelf.envs.remove("tiny")


def test_a_file_damaged_through_its_links_is_found_and_fetched_again(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_LINK_MODE", "hardlink")
    built = shelf.build()
    file = site_packages(shelf.envs.path_of(built)) / "here.pth"
    whole = file.read_text()
    os.truncate(file, 3)  # of one inode: in the environment and in uv's cache
    why = "1 file of here is missing or damaged (first: here.pth)"
    assert fitness(shelf.envs, built) == ("broken", why)
    assert fitness(shelf.envs, built, every_file=False) == ("ok", "")  # a quick look does not see it
    assert why in find_plugins(every_file=True)[1][-1].message
    done = shelf.command("env", "build", "tiny")
    assert done.returncode == 0, done.stderr
    assert f"tiny: built again, because {why}" in done.stderr
    assert "note: uv's cache had damaged files of here; they were fetched again" in done.stderr
    assert file.read_text() == whole
    assert fitness(shelf.envs, built) == ("ok", "")
    os.truncate(file, 0)
    run = shelf.command("run", "--all", "--models", "tiny", "--dry-run")
    assert (run.returncode, "here.pth" in run.stderr) == (2, True)


def test_a_package_that_states_a_wrong_size_is_taken_as_it_is(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(shelf.root / "cache"))
    path = shelf.wheel(shelf.wheels, "odd", files={"odd.py": "x = 1\n", "fine.py": ""})
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content["odd-1.0.dist-info/RECORD"] = content["odd-1.0.dist-info/RECORD"].replace(b",6\n", b",7\n")
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in content.items():
            archive.writestr(name, text)
    monkeypatch.setenv("PIP_FIND_LINKS", f"{os.environ['PIP_FIND_LINKS']} {shelf.wheels}")
    built = shelf.build(lock=shelf.lock("odd==1.0"))
    assert built.notes == [
        "1 file of odd is missing or damaged (first: odd.py) after every installation; used as it is"
    ]
    assert fitness(shelf.envs, built) == ("ok", "")
    (site_packages(shelf.envs.path_of(built)) / "fine.py").unlink()
    assert "first: fine.py" in fitness(shelf.envs, built)[1]


def test_another_version_of_the_harness_makes_an_environment_outdated(shelf: Shelf) -> None:
    built = shelf.build()
    old = built.model_copy(update={"worker": "0" * 64})
    (shelf.envs.path_of(built) / MARKER).write_text(old.model_dump_json())
    shelf.envs.use(old)
    assert fitness(shelf.envs, old)[0] == "outdated"
    assert "another version of pertharness" in find_environments(shelf.envs)[1][0].message
    done = shelf.command("env", "build", "--all")
    assert done.returncode == 0, done.stderr
    assert find_environments(shelf.envs)[1] == []


def test_two_builds_at_once_make_one(shelf: Shelf) -> None:
    path = str(shelf.plugin())
    calls = [
        subprocess.Popen(
            [shelf.program, "env", "build", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [call.communicate() for call in calls]
    assert [call.returncode for call in calls] == [0, 0], said
    assert sorted("tiny: unchanged" in err for _, err in said) == [False, True]
    assert len(shelf.envs.built()) == 1
    assert [name for name in left(shelf.envs) if name.startswith(".")] == []


def test_what_a_killed_build_left_is_swept_away_and_what_a_living_one_makes_is_not(shelf: Shelf) -> None:
    gone, alive = (shelf.envs.root / f".building-{name}-0123456789ab-7" for name in ("gone", "alive"))
    gone.mkdir(parents=True)
    alive.mkdir()
    lock = shelf.envs.lock("alive-0123456789ab")
    assert lock is not None
    shelf.build()
    assert (gone.exists(), alive.exists()) == (False, True)
    lock.release()


WATCHFUL = """
import subprocess
subprocess.run([sys.executable, "-c", "import pluggy"], check=True)
assert not {*os.environ} & {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
assert os.environ["PATH"].startswith(os.path.dirname(sys.executable))
"""
BAD_LOCKS = {
    "a missing package": ("nosuch==1", "nosuch"),
    "a missing version": ("here==7", "here==7"),
    "a range": ("here>=1", "line {line}: 'here>=1' is not NAME==VERSION"),
    "an address": ("here @ https://localhost/here.whl", "is not NAME==VERSION"),
    "no requirement": ("!!", "'!!' is not NAME==VERSION"),
    "the plugin itself": ("pertharness-tiny==0.5", "pertharness-tiny"),
}


@pytest.mark.parametrize("case", BAD_LOCKS)
def test_a_lock_that_cannot_be_installed_names_the_package_and_leaves_nothing(shelf: Shelf, case: str) -> None:
    bad, told = BAD_LOCKS[case]
    lock = shelf.lock(bad).replace("here==1.0\n", "") if bad.startswith("here==") else shelf.lock(bad)
    before = shelf.build()
    done = shelf.command("env", "build", str(shelf.plugin("2.0", lock=lock)))
    assert done.returncode == 1
    assert "plugin 'tiny'" in done.stderr
    assert told.format(line=len(lock.splitlines())) in done.stderr
    assert shelf.envs.current("tiny") == before
    assert [one.folder for one in shelf.envs.built()] == [before.folder]
    assert [name for name in left(shelf.envs) if name.startswith(".")] == []


def test_requirements_that_are_not_met_have_to_be_excused(shelf: Shelf) -> None:
    shelf.wheel(shelf.wheels, "greedy", requires=("notthere>=2", "numpy<1"))
    more = {"lock": shelf.lock("greedy==1.0")}
    os.environ["PIP_FIND_LINKS"] += f" {shelf.wheels}"  # the fixture restores it
    with pytest.raises(BuildError, match="requires notthere>=2, but it's not installed; greedy requires numpy<1"):
        shelf.build(**more)
    excuse = '[[excused]]\npackage = "Greedy"\nrequirement = "{}"\nreason = "only for its tests"\n'
    one = {"pertharness_tiny/environment.toml": excuse.format("notthere")}
    with pytest.raises(
        BuildError, match=r"has conflicting requirements: greedy requires numpy<1, but 99 is installed; update"
    ):
        shelf.build(extra=one, **more)
    both = {"pertharness_tiny/environment.toml": excuse.format("notthere") + excuse.format("numpy")}
    built = shelf.build(extra=both, **more)
    assert "greedy requires notthere>=2, but it's not installed; excused: only for its tests" in built.notes


def test_a_python_that_is_not_here_is_named(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BuildError, match=r"'tiny' needs Python ==3\.99\.\*, which is not installed .* --python PATH"):
        shelf.build(python="==3.99.*")
    path = shelf.plugin(python=">=3.99")
    with pytest.raises(BuildError, match=r"'tiny' requires Python >=3\.99, .*python.* is 3\.\d+\.\d+"):
        build(str(path), shelf.envs, python=Path(sys.executable))
    built = build(str(shelf.plugin()), shelf.envs, python=Path(sys.executable))
    assert built.wanted_python == sys.executable
    assert built.folder != shelf.build().folder


def test_a_wheel_without_lock_or_plugin_is_refused(shelf: Shelf) -> None:
    bare = {"pertharness_tiny/__init__.py": shelf.text}
    path = shelf.wheel(shelf.root, "pertharness-tiny", files=bare, points="tiny = pertharness_tiny")
    with pytest.raises(BuildError, match=r"no pertharness_tiny/requirements\.lock, .* pertharness env lock PATH"):
        build(str(path), shelf.envs)
    with pytest.raises(BuildError, match=r"other 1\.0 offers no pertharness plugin \(no entry point"):
        build(str(shelf.wheel(shelf.root, "other", files=bare)), shelf.envs)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BuildError, match="is not a complete wheel"):
        build(str(path), shelf.envs)
    for name, told in {"nowhere/there": "no such file or folder", "tinny": "pertharness-tinny"}.items():
        with pytest.raises(BuildError, match=told):
            build(name, shelf.envs, base=shelf.root)


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing of it."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index(shelf: Shelf, stocked: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A simple index (PEP 503) on this machine, with a package one of whose versions was yanked."""
    root = shelf.root / "index"
    for path in [*(stocked / "wheels").iterdir(), shelf.wheel(shelf.root / "x", "bad", "1.0"), shelf.plugin()]:
        name = "-".join(path.name.split("-")[:1]).replace("_", "-")
        (root / "simple" / name).mkdir(parents=True)
        shutil.copy(path, root / "simple" / name)
        yanked = ' data-yanked="it loses cells"' if name == "bad" else ""
        (root / "simple" / name / "index.html").write_text(f'<a href="{path.name}"{yanked}>{path.name}</a>')
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    # As a user of pip has it set: uv is told by the harness.
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    yield root
    server.shutdown()
    server.server_close()


def test_a_name_comes_from_the_index_that_pip_uses(shelf: Shelf, index: Path) -> None:
    built = build("tiny", shelf.envs, base=shelf.root)
    assert (built.asked, built.version) == ("pertharness-tiny", "1.0")
    assert build("pertharness-tiny==1.0", shelf.envs).folder == built.folder
    with pytest.raises(BuildError, match=r"'pertharness-tiny==2.0' cannot be fetched: .*pertharness-tiny==2.0"):
        build("pertharness-tiny==2.0", shelf.envs)


def test_a_yanked_version_is_installed_and_said(shelf: Shelf, index: Path) -> None:
    built = shelf.build(lock=shelf.lock("bad==1.0"))
    assert built.packages["bad"] == "1.0"
    (note,) = [note for note in built.notes if "yanked" in note]
    assert "bad==1.0" in note
    assert "it loses cells" in note


def test_a_folder_a_name_and_git_are_the_same_environment(shelf: Shelf, source: Path) -> None:
    built = build("plugins/tiny", shelf.envs, base=shelf.root)
    assert built.asked == str(source)
    shelf.envs.remove("tiny")
    assert build("tiny", shelf.envs, base=shelf.root).folder == built.folder
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        identity = ["-c", "user.name=x", "-c", "user.email=x@localhost"]
        subprocess.run(["git", *identity, *arguments], cwd=source, check=True, capture_output=True)
    from_git = build(f"git+{source.as_uri()}", shelf.envs)
    assert from_git.folder == built.folder
    shutil.unpack_archive(shelf.plugin(text=f"{shelf.text}\nNEW = 1\n"), source / "wheel", "zip")
    assert build("tiny", shelf.envs, base=shelf.root).folder == built.folder  # of git: what was committed
    assert build("plugins/tiny", shelf.envs, base=shelf.root).folder != built.folder


def test_a_lock_is_complete_exact_and_says_nothing_of_indexes(shelf: Shelf, source: Path) -> None:
    (source / "pertharness_tiny").mkdir()
    path = write_lock(source)
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# The environment of pertharness-tiny")
    assert lines[1:] == sorted(shelf.pins)
    (source / "pyproject.toml").write_text((source / "pyproject.toml").read_text().replace('"here"', '"absent>=3"'))
    with pytest.raises(BuildError, match="absent"):
        write_lock(source)


def test_the_card_comes_from_the_plugin_in_its_environment(shelf: Shelf) -> None:
    built = shelf.build()
    registry = open_registry()
    offered = registry.models["tiny"]
    assert offered.plugin.python == shelf.envs.path_of(built) / "bin" / "python"
    assert offered.plugin.packages == built.packages
    assert not registry.problems


def test_an_import_that_fails_there_is_a_state_and_a_message(shelf: Shelf) -> None:
    shelf.build(text="import no_such_module\n")
    registry = open_registry()
    (problem,) = registry.problems
    assert (problem.plugin, problem.state) == ("tiny", "failed")
    assert "No module named 'no_such_module'" in problem.message
    assert "datasets" in registry.plugins


def test_nothing_of_the_caller_leaks_in(shelf: Shelf) -> None:
    trap = shelf.root / "trap"
    user = shelf.root / "home" / f"lib/python3.{sys.version_info.minor}/site-packages"
    for folder in (trap, user):
        folder.mkdir(parents=True)
        (folder / "sitecustomize.py").write_text("import sys; sys.exit('leaked')")
        (folder / "pluggy.py").write_text("raise ImportError('leaked')")
    variables = {
        "PYTHONPATH": str(trap), "PYTHONUSERBASE": str(shelf.root / "home"), "PYTHONHOME": "/nowhere",
        "VIRTUAL_ENV": str(trap), "UV_PYTHON": "2.7",
    }  # fmt: skip
    os.environ.update(variables)  # of this process: the command itself could not start with them
    try:
        built = shelf.build(text=shelf.text + WATCHFUL)
        registry = open_registry()
    finally:
        for name in variables:
            del os.environ[name]
    assert fitness(shelf.envs, built) == ("ok", "")
    assert [one for one in registry.problems if one.plugin == "tiny"] == []


def test_installed_and_built_the_same_is_the_environment_and_different_is_nobody(shelf: Shelf) -> None:
    shelf.build()
    built, _ = find_environments(shelf.envs)
    same, problems = merge(dict(built), built)
    assert (same["tiny"].python, problems) == (built["tiny"].python, [])
    other = plugin_of(built["tiny"].python, "tiny")
    assert (other.ref, other.source) == (built["tiny"].ref, built["tiny"].source)
    from dataclasses import replace

    for change in ({"source": "0"}, {"ref": other.ref.model_copy(update={"version": "9.9"})}):
        plugins, (problem,) = merge({"tiny": replace(other, **change), "more": other}, built)  # type: ignore[arg-type]
        assert list(plugins) == ["more"]
        assert "installed beside the harness" in problem.message
        assert "in an environment" in problem.message


def test_a_module_beside_the_package_of_a_plugin_is_part_of_it_in_every_environment(shelf: Shelf) -> None:
    shelf.build(extra={"pertharness_tiny_work/__init__.py": "ALPHA = 0.9", "tiny_table.py": "BETA = 0.9"})
    built, _ = find_environments(shelf.envs)
    there = plugin_of(built["tiny"].python, "tiny")
    assert there.source == built["tiny"].source
    for name in ("pertharness_tiny_work/__init__.py", "tiny_table.py"):
        (path,) = Path(built["tiny"].folder).glob(f"lib/python3*/site-packages/{name}")
        text = path.read_text()
        path.unlink()  # it may be a link to a cache
        path.write_text(text.replace("0.9", "0.1"))
        assert plugin_of(built["tiny"].python, "tiny").source != there.source
        assert "were changed" in find_environments(shelf.envs)[1][0].message
        path.write_text(text)
    assert find_environments(shelf.envs)[1] == []


def test_an_interpreter_without_the_plugin_or_the_harness_is_refused(shelf: Shelf) -> None:
    with pytest.raises(BuildError, match="has no plugin 'tiny'"):
        plugin_of(Path(sys.executable), "tiny")
    with pytest.raises(BuildError, match="cannot be run"):
        plugin_of(shelf.root / "python", "tiny")
    assert plugin_of(Path(sys.executable), "datasets").source == plugin_hash("pertharness.datasets", None)


RECIPE = """
name = "r"
seeds = [1]
scorers = ["l2"]
models = ["mean", "tiny", "broken"]

[datasets.demo]
params = {{ n_genes = 60, n_singles = 6, n_doubles = 6, n_controls = 20, n_cells = 5 }}

[[tasks]]
split = {{ kind = "double" }}

[environments]
tiny = "{tiny}"
broken = "{broken}"
"""


def test_run_build_makes_what_is_missing_and_the_others_run(shelf: Shelf) -> None:
    files = {"pertharness_broken/__init__.py": shelf.text, "pertharness_broken/requirements.lock": "nosuch==1"}
    bad = shelf.wheel(shelf.root, "pertharness-broken", files=files, points="broken = pertharness_broken")
    recipe = RECIPE.format(tiny=shelf.plugin(), broken=bad)
    (shelf.root / "r.toml").write_text(recipe)
    done = shelf.command("run", "r.toml", "--out", "out", "--build")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "tiny: built in" in done.stderr
    assert "broken: NOT BUILT:" in done.stderr
    board = json.loads((shelf.root / "out" / "leaderboard.json").read_text())
    text = json.dumps(board)
    assert "nosuch" in text
    manifest = json.loads((shelf.root / "out" / "manifest.json").read_text())
    states = {one["model"]: one["state"] for one in manifest["attempts"] if one["reason"]}
    assert states == {"broken": "failed"}
    assert manifest["plugins"]["tiny"]["packages"]["anndata"] == "99"
    assert manifest["plugins"]["tiny"]["environment_folder"].startswith(str(shelf.envs.root))
    predictions = [one for one in manifest["records"].values() if one["stage"] == "predictions"]
    assert [one["state"] for one in predictions] == ["done", "done"]
    listed = shelf.command("env", "list").stdout
    assert listed.split()[:3] == ["tiny", "1.0", "ok"]
    assert "anndata" in shelf.command("env", "show", "tiny").stdout
    python = shelf.envs.path_of(shelf.envs.built()[0]) / "bin" / "python"
    named = recipe.split("[environments]")[0] + f'[environments]\ntiny = {{ python = "{python}" }}\n'
    (shelf.root / "named.toml").write_text(named.replace(', "broken"', ""))
    done = shelf.command("run", "named.toml", "--out", "named", PERTHARNESS_ENVS=str(shelf.root / "elsewhere"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tiny" in (shelf.root / "named" / "leaderboard.csv").read_text()


@pytest.mark.parametrize("limit", [1_000, 100_000], ids=["ends uv", "ends packing"])
def test_a_limit_on_the_size_of_files_leaves_nothing_and_says_so(limit: int, shelf: Shelf, source: Path) -> None:
    asked = source if limit < 100_000 else shelf.plugin(extra={"pertharness_tiny/table.bin": os.urandom(400_000)})
    done = subprocess.run(
        [shelf.program, "env", "build", str(asked)], capture_output=True, text=True, cwd=shelf.root,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert ("building" in done.stderr) == (limit < 100_000)  # what uv does
    assert "the disk is full, or ulimit -f is too small" in done.stderr
    assert "Traceback" not in done.stderr
    assert not [path for path in shelf.envs.root.iterdir() if path.suffix != ".lock"]


def test_a_full_disk_leaves_nothing_and_says_so(shelf: Shelf) -> None:
    """On a disk of 1 MB, mounted for this test alone."""
    path, disk = shelf.plugin(extra={"pertharness_tiny/table.bin": "x" * 2_000_000}), shelf.root / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=1m tmpfs {disk}"
    script = f"{mount} && {shelf.program} env build {path}; code=$?; ls -A {disk}; exit $code"
    probe = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", str(disk)], capture_output=True)
    if probe.returncode:
        pytest.skip("no file system may be mounted here")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], env={**os.environ, "PERTHARNESS_ENVS": str(disk)}, capture_output=True,
        text=True, cwd=shelf.root,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "the disk is full" in done.stderr
    assert f"(no room in: the environments' {str(disk)!r})" in done.stderr
    assert "Traceback" not in done.stderr
    assert [name for name in done.stdout.split() if not name.endswith(".lock")] == []


def test_the_wheel_of_the_harness_is_the_same_every_time_and_has_only_the_worker_side(tmp_path: Path) -> None:
    one, other = core_wheel(tmp_path / "a"), core_wheel(tmp_path / "b")
    assert one.read_bytes() == other.read_bytes()
    found = read_wheel(one)
    assert (found.distribution, found.version, found.plugins) == ("pertharness", version("pertharness"), {})
    assert {"click", "rich", "uv"}.isdisjoint({name_of(text) for text in found.requires})
    assert {"anndata", "pluggy", "pydantic"} <= {name_of(text) for text in found.requires}
