"""A model whose job was ended in the middle of its training finds its own folder again, and nothing of another job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pertharness.contract.jobs import Isolation, Status
from pertharness.host.execution.layout import lay_out, leave_for_next_try, set_aside
from pertharness.host.execution.runner import Runner
from pertharness.host.store.prune import prune
from test_keep_models import planned
from test_predict_stage import Bench, make_bench

TRAINS = """
import os, pathlib, signal, time
import pertharness as p
from pertharness.data import canonical

@p.hookimpl
def load_dataset(source):
    return canonical.read(source)

@p.hookimpl
def fit(name, train, workdir):
    state = workdir / "state" / "epoch.txt"
    state.parent.mkdir(exist_ok=True)
    first = int(state.read_text()) if state.exists() else 0
    print("starts at", first, flush=True)
    for epoch in range(first, 4):
        state.write_text(str(epoch + 1))
        if epoch == 1:
            END
    return first

@p.hookimpl
def predict(model, controls, queries):
    y0 = p.control_mean(controls)
    return p.make_prediction({query: y0 for query in queries}, controls.var_names)
"""
ENDS = {
    "crashed": "first or os.kill(os.getpid(), signal.SIGKILL)",
    "timeout": "first or time.sleep(600)",
    "failed": "raise ValueError('odd data')",
}


def trained(bench: Bench, *retry: str, timeout_s: float | None = None) -> tuple[str, str]:
    """Return state and log of a prediction."""
    planner, key = planned(bench, keep=False)
    nodes = [replace(node, timeout_s=timeout_s) if node.key == key else node for node in planner.plan.nodes.values()]
    outcome = Runner(bench.store, planner.executor, retry=frozenset(retry)).run(nodes)[key]
    return outcome.state, bench.log("predictions", key)


def unfinished(bench: Bench) -> list[Path]:
    return [path for path in (bench.store.root / "work").rglob("*") if path.is_file()]


@pytest.mark.parametrize(("state", "starts"), [("crashed", 2), ("timeout", 2), ("failed", 0)])
def test_the_next_try_goes_on_where_one_was_ended_from_outside(state: str, starts: int, tmp_path: Path) -> None:
    bench = make_bench(tmp_path / "bench", TRAINS.replace("END", ENDS[state]))
    limit = 20.0 if state == "timeout" else None
    assert trained(bench, timeout_s=limit) == (state, "starts at 0\n")
    kept = [path.name for path in unfinished(bench)]
    assert sorted(kept) == ([] if state == "failed" else ["epoch.txt", "mechanism.txt"])
    assert trained(bench) == (state, "starts at 0\n"), "a record is not made again unless that is asked for"
    after = "failed" if state == "failed" else "done"
    assert trained(bench, state) == (after, f"starts at {starts}\n")
    assert unfinished(bench) == []


RUNNER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_predict_stage import Bench, make_bench
from test_resume import again, trained
trained(again(Path(sys.argv[2])))
"""


def again(folder: Path) -> Bench:
    """Return a bench that another process made."""
    made = make_bench(folder.parent / f"{folder.name}-{os.getpid()}", (folder / "plugin_toy.py").read_text())
    registry, store = made.registry, type(made.store).open(folder / "store")
    return Bench(folder, registry, store)


def test_a_killed_run_leaves_the_folder_to_the_next(tmp_path: Path) -> None:
    bench = make_bench(tmp_path / "bench", TRAINS.replace("END", ENDS["timeout"]))
    key = planned(bench, keep=False)[1]
    state = bench.store.work(key) / "scratch" / "state" / "epoch.txt"
    with subprocess.Popen([sys.executable, "-c", RUNNER, str(Path(__file__).parent), str(bench.folder)]) as runner:
        deadline = time.monotonic() + 300
        while not state.exists() or state.read_text() != "2":
            assert runner.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(runner.pid, signal.SIGKILL)
    assert bench.store.status("predictions", key) is None
    assert trained(bench) == ("done", "starts at 2\n")


@pytest.mark.parametrize(("made_with", "used"), [("landlock", True), ("none", False)])
def test_what_is_left_is_used_only_under_no_less_isolation(made_with: str, used: bool, tmp_path: Path) -> None:
    bench = make_bench(tmp_path / "bench", TRAINS)
    planner, key = planned(bench, keep=False)
    node, work = planner.plan.nodes[key], tmp_path / "work"
    (work / "scratch").mkdir(parents=True)
    (work / "scratch" / "epoch.txt").touch()
    status = Status(key=key, state="crashed", isolation=Isolation.model_validate({"mechanism": made_with}))
    aside = set_aside(node, status, work)
    assert aside is not None
    work.rmdir()
    leave_for_next_try(aside, status, work)
    lay_out(node, work, "landlock")
    assert (work / "scratch" / "epoch.txt").exists() == used


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.symlink_to("/tmp"), lambda path: None])
def test_a_scratch_folder_without_content_is_not_left(make: Callable[[Path], None], tmp_path: Path) -> None:
    bench = make_bench(tmp_path / "bench", TRAINS)
    planner, key = planned(bench, keep=False)
    (tmp_path / "work").mkdir()
    make(tmp_path / "work" / "scratch")
    assert set_aside(planner.plan.nodes[key], Status(key=key, state="crashed"), tmp_path / "work") is None


def test_what_is_left_can_be_pruned(tmp_path: Path) -> None:
    bench = make_bench(tmp_path / "bench", TRAINS.replace("END", ENDS["crashed"]))
    assert trained(bench)[0] == "crashed"
    assert unfinished(bench)
    removed = prune(bench.store, [], None, dry_run=False).removed
    assert removed["unfinished"].number == 1
    assert unfinished(bench) == []
