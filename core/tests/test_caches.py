"""Compile caches: what a job without data leaves in its home is there in every later job, and none can change it."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pertharness.contract.jobs import HOME
from pertharness.files.trees import remove_tree
from pertharness.host.execution import caches
from pertharness.host.execution.caches import CACHES, keep_caches, lay_out_caches
from pertharness.host.execution.start import job_variables
from pertharness.host.store.records import Store, read_status

if TYPE_CHECKING:
    from conftest import Shelf

RECIPE = """
name = "tiny"
seeds = [1]
models = ["tiny[nth=1]", "tiny[nth=2]", "tiny[nth=3]"]
scorers = ["l2"]
datasets.demo.params = { n_genes = 60, n_cells = 10 }
[[tasks]]
split = { kind = "double" }
"""
COMPILING = """
from pathlib import Path
from pertharness import Card, ModelOffer, hookimpl, make_prediction
OFFER = ModelOffer(name="tiny", summary="s", tasks=("double", "single"), input="pseudobulk", information="controls",
                   cheap=True, params={"nth": 1})
COMPILED = Path.home() / ".cache" / "compiler" / "kernel.bin"

@hookimpl
def describe():
    COMPILED.parent.mkdir(parents=True)
    COMPILED.write_text("compiled")
    (COMPILED.parent / "link").symlink_to("SECRET")
    return Card(models=(OFFER,))

@hookimpl
def fit(train, seed):
    print("found:", *sorted(path.name for path in COMPILED.parent.iterdir()), COMPILED.read_text())
    COMPILED.write_text("spoilt by " + str(seed))
    return "nothing"

@hookimpl
def predict(controls, queries):
    mean = controls.X.mean(axis=0)
    return make_prediction({query: mean for query in queries}, controls.var_names)
"""


def test_what_describe_compiled_is_there_in_every_job_however_others_change_it(shelf: Shelf) -> None:
    secret = shelf.root / "secret.txt"
    secret.write_text("the truth")
    built = shelf.build(text=COMPILING.replace("SECRET", str(secret)))
    (shelf.root / "tiny.toml").write_text(RECIPE)
    done = shelf.command("run", "tiny.toml", "--jobs", "1", "--out", str(shelf.root / "run"))
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads((shelf.root / "run" / "manifest.json").read_text())
    assert manifest["plugins"]["tiny"]["python"] == str(shelf.envs.python(built))
    store = Store.open(shelf.root / "store")
    logs = [path.read_text() for path in (store.root / "predictions").glob("*/log.txt")]
    assert len(logs) == 3
    assert all("found: kernel.bin compiled\n" in log for log in logs), logs
    (kept,) = (shelf.root / "cache" / "cards").glob(f"*/{CACHES}")
    status = read_status(kept.parent, kept.parent.name)
    assert status is not None
    assert status.artefacts.keys() == {"card.json", CACHES}


def test_links_and_files_with_two_names_are_not_kept(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "truth.h5ad").write_text("the truth")
    place = tmp_path / "job" / HOME / ".cache"
    (place / "numba").mkdir(parents=True)
    (place / "numba" / "kernel.nbi").write_bytes(b"compiled")
    (place / "linked.h5ad").symlink_to(secret / "truth.h5ad")
    (place / "folder").symlink_to(secret)
    os.link(secret / "truth.h5ad", place / "second_name.h5ad")
    os.mkfifo(place / "pipe")
    (place / os.fsdecode(b"\xff")).write_text("a name that is no text")
    packed, note = keep_caches(tmp_path / "job")
    assert packed is not None
    assert note == ""
    with zipfile.ZipFile(packed) as archive:
        assert archive.namelist() == ["numba/kernel.nbi"]
    lay_out_caches(packed, tmp_path / "home")
    assert (tmp_path / "home" / ".cache" / "numba" / "kernel.nbi").read_bytes() == b"compiled"
    lay_out_caches(tmp_path / "was_pruned.zip", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_home_that_is_a_link_is_not_packed(tmp_path: Path) -> None:
    (tmp_path / "other" / ".cache").mkdir(parents=True)
    (tmp_path / "other" / ".cache" / "truth").write_text("the truth")
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / HOME).symlink_to(tmp_path / "other")
    assert keep_caches(tmp_path / "job") == (None, "")


def test_the_same_caches_are_the_same_bytes_and_too_much_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, time in (("first", 1e9), ("second", 1.2e9)):
        place = tmp_path / name / HOME / ".cache"
        place.mkdir(parents=True)
        for file in ("b", "a"):
            (place / file).write_bytes(b"x" * 1000)
            os.utime(place / file, (time, time))
    first, second = (keep_caches(tmp_path / name)[0] for name in ("first", "second"))
    assert first is not None
    assert second is not None
    assert first.read_bytes() == second.read_bytes()
    first.unlink()
    monkeypatch.setattr(caches, "LARGEST_MB", 0.001)
    packed, note = keep_caches(tmp_path / "first")
    assert packed is None
    assert "not kept" in note


def test_compilers_are_sent_to_the_home_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    from pertharness.contract.jobs import Job, PluginRef
    from pertharness.host.execution.batch import Batch, Launch
    from pertharness.host.execution.start import _variables

    monkeypatch.setenv("NUMBA_CACHE_DIR", "/home/somebody/numba")
    monkeypatch.setenv("TRITON_CACHE_DIR", "/home/somebody/triton")
    monkeypatch.setenv("TORCH_HOME", "/home/somebody/torch")
    job = Job(key="k", stage="predictions", plugin=PluginRef(name="tiny", module="tiny", version="1"))
    launch = Launch(job=job, folder=Path("/store/work/k"))
    batch = Batch(kind="k", python=Path("/usr/bin/python3"), warm=False, launches=(launch,), mechanism="none")
    variables = _variables(batch)
    assert not [name for name, value in variables.items() if "somebody" in value]
    home = f"/store/work/k/{HOME}"
    assert variables["TRITON_CACHE_DIR"] == f"{home}/.cache/triton"
    assert job_variables(launch).items() <= variables.items()


def test_odd_things_in_a_cache_cost_only_themselves(tmp_path: Path) -> None:
    """A pipe that nobody writes to, and folders deeper than a process may have calls in one another."""
    place = tmp_path / HOME / ".cache"
    place.mkdir(parents=True)
    (place / "kernel.bin").write_text("compiled")
    os.mkfifo(place / "pipe")
    here = os.open(place, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d" * 50, dir_fd=here)
        inner = os.open("d" * 50, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    path, note = keep_caches(tmp_path)
    assert note == ""
    assert path is not None
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["kernel.bin"]
    remove_tree(place)


@pytest.mark.parametrize("put", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/passwd")])
def test_what_stands_where_caches_are_to_lie_is_removed(put: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / HOME / ".cache").mkdir(parents=True)
    (tmp_path / HOME / ".cache" / "kernel.bin").write_text("compiled")
    put(tmp_path / CACHES)
    path, _ = keep_caches(tmp_path)
    assert path is not None
    assert zipfile.is_zipfile(path)
    assert not path.is_symlink()


def test_more_files_than_are_worth_it_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "MOST_FILES", 3)
    (tmp_path / HOME / ".cache").mkdir(parents=True)
    for number in range(4):
        (tmp_path / HOME / ".cache" / str(number)).touch()
    path, note = keep_caches(tmp_path)
    assert path is None
    assert "more than 500 MB or 3 files" in note


def test_caches_that_are_damaged_are_done_without(tmp_path: Path) -> None:
    (tmp_path / CACHES).write_bytes(b"PK no archive at all")
    lay_out_caches(tmp_path / CACHES, tmp_path / HOME)
    (tmp_path / CACHES).unlink()
    lay_out_caches(tmp_path / CACHES, tmp_path / HOME)
    (tmp_path / CACHES).mkdir()
    lay_out_caches(tmp_path / CACHES, tmp_path / HOME)
    assert not (tmp_path / HOME).exists()
