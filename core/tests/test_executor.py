"""The border between the runner and where jobs run: an executor that shares only files with its jobs does the same."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pertharness.contract.errors import PertharnessError, RecipeError
from pertharness.contract.jobs import Job, PluginRef
from pertharness.host.execution.batch import Batch, Mechanism
from pertharness.host.execution.executor import Event, Executor, Usage, read_event
from pertharness.host.execution.gpus import claim_gpu
from pertharness.host.execution.hardware import Gpu, Machine
from pertharness.host.execution.local import LocalExecutor, LocalSeat, local_executor
from pertharness.host.execution.nodes import Node
from pertharness.host.execution.runner import Runner
from pertharness.host.execution.watch import EVENTS
from pertharness.host.plugins.registry import Registry, open_registry
from pertharness.host.recipe import make_recipe
from pertharness.host.run.prepare import plan_run
from pertharness.host.run.session import carry_out
from pertharness.host.store.leases import Lease
from pertharness.host.store.records import Store

RECIPE = {
    "name": "small", "seeds": [1], "scorers": ["l2"], "models": ["mean", "additive"],
    "datasets": {"demo": {"params": {"n_genes": 200, "n_singles": 24, "n_doubles": 24, "n_cells": 10}}},
    "tasks": [{"split": {"kind": "double"}}],
}  # fmt: skip
SMALL = Machine(ram_gb=0.001, disk_gb=100)


@dataclass(eq=False)
class Submitted:
    """A batch in a process of its own, of which nothing is known but what it writes to a file."""

    popen: subprocess.Popen[bytes]
    reports: Path
    usage: Usage = field(default_factory=Usage)
    is_alive: bool = True
    n_read: int = 0

    def events(self) -> list[Event]:
        code = self.popen.poll()  # before the file is read: what was written before the end is read
        lines = self.reports.read_text().splitlines(keepends=True) if self.reports.exists() else []
        whole = [json.loads(line) for line in lines[self.n_read :] if line.endswith("\n")]
        self.n_read += len(whole)
        if code:
            raise PertharnessError(f"the batch {self.reports.stem!r} ended with exit status {code}")
        self.is_alive = code is None
        return [event for message in whole if (event := read_event(message))]


@dataclass(eq=False)
class Place:
    """One of the seats of an executor."""

    executor: Submitting
    gpu: str | None = None

    def start(self, batch: Batch, leases: Iterable[Lease]) -> Submitted:
        path = self.executor.folder / f"batch-{len(self.executor.batches)}.json"
        path.write_text(batch.model_dump_json())
        command = [sys.executable, "-I", "-m", "pertharness.host.execution.watch", str(path)]
        popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        self.executor.batches.append(Submitted(popen, path.with_suffix(EVENTS)))
        return self.executor.batches[-1]

    def give_back(self) -> None: ...


@dataclass
class Submitting:
    """An executor that starts one command per batch and looks at files, as one of a batch system does."""

    folder: Path
    machine: Machine
    mechanism: Mechanism = "landlock"
    least: Mechanism = "none"
    batches: list[Submitted] = field(default_factory=list)

    @property
    def n_free(self) -> int:
        return 2 - sum(batch.is_alive for batch in self.batches)

    def offer(self, node: Node) -> Place | None:
        return Place(self) if self.n_free else None

    def wait(self, timeout_s: float) -> None:
        time.sleep(0.02)

    def close(self) -> None:
        for batch in self.batches:
            batch.popen.terminate()
            batch.popen.wait()


@pytest.fixture(scope="module")
def registry() -> Registry:
    return open_registry()


def scores_of(folder: Path, registry: Registry, executor: Executor) -> bytes:
    recipe, store = make_recipe(RECIPE), Store.open(folder / "store")
    plan = plan_run(recipe, registry, store, executor, lambda name, source: Path())
    done = carry_out(
        recipe, registry, store, plan, folder / "run", executor=executor, retry=frozenset(), observer=None, command=[]
    )
    assert set(done.counts) == {"done"}
    assert done.fresh == len(plan.nodes)
    return (folder / "run" / "scores.csv.gz").read_bytes()


def test_jobs_that_share_only_files_with_the_runner_give_the_same_scores(tmp_path: Path, registry: Registry) -> None:
    usual = local_executor(tmp_path / "usual", slots=2)
    other = Submitting(tmp_path, usual.machine, usual.mechanism)
    assert scores_of(tmp_path / "usual", registry, usual) == scores_of(tmp_path / "other", registry, other)
    assert len(other.batches) > 3


def test_what_jobs_can_have_is_asked_of_the_executor(tmp_path: Path, registry: Registry) -> None:
    executor = local_executor(tmp_path, machine=SMALL)
    store = Store.open(tmp_path / "store")
    plan = plan_run(make_recipe(RECIPE), registry, store, executor, lambda name, source: Path())
    assert {node.memory_mb for node in plan.nodes.values() if node.stage == "predictions"} == {0.9 * 0.001 * 1000}


def card_node(key: str, device: str = "cpu", gpu_gb: float | None = None) -> Node:
    ref = PluginRef(name="baselines", module="pertharness_baselines", version="1")
    job = Job(key=key, stage="cards", plugin=ref, device=device)
    return Node(job=job, python=Path(sys.executable), title=key, gpu_gb=gpu_gb, timeout_s=60)


def test_a_batch_whose_command_dies_is_an_error_and_the_next_run_does_its_jobs(tmp_path: Path) -> None:
    @dataclass(eq=False)
    class Killed(Place):
        def start(self, batch: Batch, leases: Iterable[Lease]) -> Submitted:
            batch = super().start(batch, leases)
            batch.popen.kill()
            return batch

    class Killing(Submitting):
        def offer(self, node: Node) -> Place | None:
            return Killed(self)

    store = Store.open(tmp_path / "store")
    usual = local_executor(store.root)
    with pytest.raises(PertharnessError, match="ended with exit status -9"):
        Runner(store, Killing(tmp_path, usual.machine, usual.mechanism)).run([card_node("key")])
    assert Runner(store, usual).run([card_node("key")])["key"].state == "done"


class Counting(LocalExecutor):
    """Counts how often it is asked for a seat."""

    n_offers = 0

    def offer(self, node: Node) -> LocalSeat | None:
        self.n_offers += 1
        return super().offer(node)


def test_a_job_that_waits_for_a_gpu_of_another_run_asks_now_and_then(tmp_path: Path) -> None:
    store, gpu = Store.open(tmp_path / "store"), Gpu("GPU-1", "one", 24.0)
    node = card_node("key", device="cuda", gpu_gb=0.0)
    claim = claim_gpu(node, (gpu,), store.root / "work")
    assert claim is not None
    executor = Counting(store.root, 1, "none", "none")
    executor.machine = Machine(64, 100, (gpu,))
    thread = threading.Timer(1.0, claim.release)
    thread.start()
    assert Runner(store, executor).run([node])["key"].state == "done"
    thread.join()
    assert 2 <= executor.n_offers < 20


def test_what_an_interrupted_start_holds_is_free_again(tmp_path: Path) -> None:
    """A process that catches the interrupt can go on with the same store."""

    class Interrupted(LocalExecutor):
        def free_watcher(self, kind: str) -> None:  # type: ignore[override]
            raise KeyboardInterrupt

    store, gpu = Store.open(tmp_path / "store"), Gpu("GPU-1", "one", 24.0)
    executor = Interrupted(store.root, 1, "none", "none")
    executor.machine = Machine(64, 100, (gpu,))
    with pytest.raises(KeyboardInterrupt):
        Runner(store, executor).run([card_node("key", device="cuda", gpu_gb=0.0)])
    assert not list(store.root.glob("work/*.lock"))
    assert executor.n_free == 1


def test_isolation_that_is_not_to_be_had_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="isolation 'jail' is not available on this machine"):
        local_executor(tmp_path, isolation="jail")
