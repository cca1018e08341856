"""`verify`, `store size` and `store prune` as a user calls them."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import h5py
import pytest
from command_bench import PERTHARNESS, Bench, pertharness
from pertharness.host.store.prune import prune
from pertharness.host.store.records import Store


@pytest.fixture
def copied(bench: Bench, tmp_path: Path) -> Bench:
    shutil.copytree(bench.folder, tmp_path / "bench")
    return Bench(tmp_path / "bench")


def test_verify_finds_nothing_in_a_run_as_it_was_written_nor_in_its_store(bench: Bench, tmp_path: Path) -> None:
    pertharness("verify", "screen", cwd=bench.folder)
    for arguments in (
        (bench.folder / "runs" / "screen",),
        (bench.folder / "store",),
        ("--store", bench.folder / "store"),
    ):
        done = pertharness("verify", *arguments, cwd=tmp_path)
        assert done.stdout.startswith("no differences; checked ")
        assert done.stderr == ""


def test_verify_names_what_was_changed_behind_anyone_s_back(copied: Bench) -> None:
    run, store = copied.folder / "runs" / "screen", copied.folder / "store"
    (key,) = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["datasets"].values()
    means = store / "datasets" / key / "pseudobulk.h5ad"
    with h5py.File(means, "r+") as file:
        values = file["X"] if isinstance(file["X"], h5py.Dataset) else file["X/data"]
        values[-1] += 1.0
    board = run / "leaderboard.csv"
    board.write_text(board.read_text(encoding="utf-8").replace("linear", "mine"), encoding="utf-8")
    lines = pertharness("verify", run, "--store", store, cwd=copied.folder, status=1).stdout.splitlines()
    assert lines[0].startswith(f"{board}: has changed")
    assert lines[1].startswith(f"datasets/{key}/pseudobulk.h5ad: has changed")
    assert lines[2].startswith("2 differences; checked ")
    assert len(lines) == 3


def test_prune_keeps_a_run_whole_and_takes_the_rest(copied: Bench) -> None:
    store, run = copied.folder / "store", copied.folder / "runs" / "screen"
    asked = ("run", "--data", "screen.h5ad", "--split", "split.json", "--store", "store")
    other = ("--task", "double", "--seeds", "2", "--models", "additive", "--scorers", "l2", "--name", "other")
    pertharness("run", "--data", "screen.h5ad", *other, "--store", "store", cwd=copied.folder)
    before = pertharness("store", "size", "--store", store, cwd=copied.folder).stdout
    foreseen = pertharness("store", "prune", "--keep", run, "--dry-run", "--store", store, cwd=copied.folder).stdout
    assert pertharness("store", "size", "--store", store, cwd=copied.folder).stdout == before
    done = pertharness("store", "prune", "--keep", run, "--store", store, cwd=copied.folder).stdout
    assert done == foreseen.replace("would remove", "removed")
    assert "predictions" in done
    assert pertharness("verify", run, "--store", store, cwd=copied.folder).stdout.startswith("no differences")
    assert "; 0 of them done now" in pertharness(*asked, cwd=copied.folder).stdout
    again = pertharness("store", "prune", "--keep", "screen", "--store", store, cwd=copied.folder).stdout
    assert again.startswith("removed 0 entries")
    lines = pertharness("verify", "runs/other", cwd=copied.folder, status=1).stdout.splitlines()
    assert any("is missing from the store, but the run used it" in line for line in lines)


def test_prune_refuses_to_keep_a_run_of_another_store(bench: Bench, tmp_path: Path) -> None:
    Store.open(tmp_path / "empty")
    said = pertharness("store", "prune", "--keep", bench.folder / "runs", "--store", "empty", cwd=tmp_path, status=1)
    assert "holds no record of the run" in said.stderr


def test_prune_beside_a_run_in_progress_takes_nothing_from_it(bench: Bench, tmp_path: Path) -> None:
    shutil.copy(bench.folder / "screen.h5ad", tmp_path)
    command = [PERTHARNESS, "run", "--data", "screen.h5ad", "--seeds", "1", "--scorers", "l2", "--store", "store"]
    opened, tried = Store.open(tmp_path / "store"), 0
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        while run.poll() is None:
            prune(opened, [], 0.0, dry_run=False)
            tried += 1
            time.sleep(0.1)
        said = run.stdout.read() if run.stdout else ""
    assert run.returncode == 0, said
    assert tried > 3
    assert "failed" not in said and "crashed" not in said
    assert (tmp_path / "runs" / "screen" / "leaderboard.csv").exists()
    prune(opened, [], 0.0, dry_run=False)
    assert not list(opened.root.glob("predictions/*"))
