"""Time what a job costs beside its work, and the demo beside another version of pertharness.

    python benchmarks/jobs.py [--jobs 300] [--against PROGRAM] [--rounds 2]

Jobs: a plugin of five lines that does nothing is asked for its card so many times, each in a process of its own, one at
a time, with and without the sandbox; the alternative is starting an interpreter for each, as a job of a training model
does. Printed are wall and processor seconds per job, as the difference between many jobs and a few, so that starting
and importing are excluded, and the processor seconds of the runner itself for all of them. Files are in the cache.

Demo: `PROGRAM run --all` of another installation (its ``pertharness``) and of this one, by turns, each on an empty
store, then again with nothing to do. Whole commands, start included.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pertharness.contract.jobs import Job, PluginRef
from pertharness.host.execution.local import local_executor
from pertharness.host.execution.nodes import Node
from pertharness.host.execution.runner import Runner
from pertharness.host.store.records import Store

PERTHARNESS = Path(sys.executable).with_name("pertharness")


@dataclass(frozen=True)
class Spent:
    """Wall seconds, processor seconds of this process, and of all that it started."""

    wall_s: float
    own_s: float
    children_s: float


def measured(work: object) -> Spent:
    """Return what calling `work` takes."""
    before = time.perf_counter(), time.process_time(), _children_s()
    work()  # type: ignore[operator]
    return Spent(time.perf_counter() - before[0], time.process_time() - before[1], _children_s() - before[2])


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@contextlib.contextmanager
def idle_plugin() -> Iterator[PluginRef]:
    """Install a plugin that does nothing beside the harness, as long as it is needed."""
    path = Path(sysconfig.get_path("purelib"), "pertharness_idle.py")
    path.write_text("import pertharness\n\n@pertharness.hookimpl\ndef describe():\n    return pertharness.Card()\n")
    try:
        yield PluginRef(name="idle", module="pertharness_idle", version="1")
    finally:
        path.unlink()


def per_job(n_jobs: int, isolation: str, ref: PluginRef, *, cheap: bool = True) -> Spent:
    """Return what one more job costs, where the workers have started already."""
    few = max(1, n_jobs // 4)
    less, more = (run_jobs(n, isolation, ref, cheap=cheap) for n in (few, n_jobs))
    wall, children = more.wall_s - less.wall_s, more.children_s - less.children_s
    return Spent(wall / (n_jobs - few), more.own_s, children / (n_jobs - few))


def run_jobs(n_jobs: int, isolation: str, ref: PluginRef, *, cheap: bool = True) -> Spent:
    """Carry out so many jobs that do nothing, one at a time."""
    nodes = [
        Node(job=Job(key=f"{i:064x}", stage="cards", plugin=ref), python=Path(sys.executable), title="", cheap=cheap)
        for i in range(n_jobs)
    ]
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder))
        first = Node(job=nodes[0].job.model_copy(update={"key": "f" * 64}), python=Path(sys.executable), title="")
        Runner(store, local_executor(store.root, isolation=isolation)).run([first])  # sources are compiled
        spent = measured(lambda: Runner(store, local_executor(store.root, isolation=isolation)).run(nodes))
        assert len(list((store.root / "cards").iterdir())) == n_jobs + 1
    return spent


def run_demo(program: Path, folder: Path) -> Spent:
    """Run all models on the demo in a folder, with the store there."""
    command = [str(program), "run", "--all", "--out", str(folder / "run"), "--store", str(folder / "store")]
    environment = {**os.environ, "COLUMNS": "100"}
    return measured(lambda: subprocess.run(command, capture_output=True, check=True, cwd=folder, env=environment))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    with idle_plugin() as ref:
        alone = per_job(max(8, options.jobs // 15), "auto", ref, cheap=False).wall_s
        for isolation in ("auto", "none"):
            spent = per_job(options.jobs, isolation, ref)
            print(
                f"{options.jobs} jobs, isolation {isolation}: {spent.wall_s * 1e3:.1f} ms each, "
                f"{spent.children_s * 1e3:.1f} ms of processor time; an interpreter each: {alone * 1e3:.0f} ms, ratio "
                f"{spent.wall_s / alone:.3f}; the runner itself {spent.own_s:.2f} s of processor time for all"
            )
    if options.against is None:
        return
    names = {"other": options.against.absolute(), "this": PERTHARNESS}
    best: dict[tuple[str, str], Spent] = {}
    for _ in range(options.rounds):
        for name, program in names.items():
            with tempfile.TemporaryDirectory() as folder:
                for kind in ("empty store", "again"):
                    spent = run_demo(program, Path(folder))
                    known = best.get((name, kind), spent)
                    best[name, kind] = min(known, spent, key=lambda one: one.children_s)
    for kind in ("empty store", "again"):
        mine, other = best["this", kind], best["other", kind]
        print(
            f"demo, {kind}: {mine.wall_s:.1f} s, {mine.children_s:.1f} s of processor time; the other version "
            f"{other.wall_s:.1f} s, {other.children_s:.1f} s; ratios {mine.wall_s / other.wall_s:.2f}, "
            f"{mine.children_s / other.children_s:.2f}"
        )


if __name__ == "__main__":
    main()
