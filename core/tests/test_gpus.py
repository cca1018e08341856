"""Jobs on a simulated list of GPUs, with real workers that say which one they saw and when."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from pertharness.contract.jobs import Job, PluginRef
from pertharness.host.execution.gpus import claim_gpu
from pertharness.host.execution.hardware import Gpu, Machine
from pertharness.host.execution.local import local_executor
from pertharness.host.execution.nodes import Node
from pertharness.host.execution.runner import Runner
from pertharness.host.store.records import Store

SMALL, LARGE = Gpu("GPU-small", "small", 24.0), Gpu("GPU-large", "large", 80.0)
PLUGIN = """
import os, time
from pathlib import Path
import pertharness

@pertharness.hookimpl
def describe():
    # Two jobs that wait for each other end only if they run at once; each leaves when and on which GPU it ran.
    folder, name = Path({folder!r}), f"{{os.getpid()}}"
    began = time.monotonic()
    (folder / f"here-{{name}}").touch()
    while len(list(folder.glob("here-*"))) < {together} and time.monotonic() - began < 300:
        time.sleep(0.01)
    time.sleep(0.1)
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    (folder / f"ran-{{name}}").write_text(f"{{seen}} {{began}} {{time.monotonic()}}")
    return pertharness.Card()
"""
Ran = list[tuple[str, float, float]]


class Bench:
    """A store, an interpreter that finds the plugin, and what its jobs left."""

    def __init__(self, folder: Path, together: int) -> None:
        self.folder = folder
        self.store = Store.open(folder / "store")
        self.ref = PluginRef(name="test", module="plugin_on_gpu", version="1")
        (folder / "plugin_on_gpu.py").write_text(PLUGIN.format(folder=str(folder), together=together))
        self.python = folder / "python"
        run = f"import sys; sys.path.insert(0, {str(folder)!r}); from pertharness.worker.main import main; "
        script = f'#!/bin/sh\nexec "{sys.executable}" -W ignore -c "{run}sys.exit(main(sys.argv[6:]))" "$@"\n'
        self.python.write_text(script)
        self.python.chmod(0o755)

    def node(self, key: str, gpu_gb: float | None = 0.0, device: str = "cuda") -> Node:
        job = Job(key=key, stage="cards", plugin=self.ref, device=device)
        return Node(job=job, python=self.python, title=key, gpu_gb=gpu_gb)

    def run(self, nodes: list[Node], *gpus: Gpu) -> Ran:
        executor = local_executor(self.store.root, slots=4, isolation="none", machine=Machine(64, 100, gpus))
        outcomes = Runner(self.store, executor).run(nodes)
        assert {outcome.state for outcome in outcomes.values()} == {"done"}
        rows = [path.read_text().split() for path in self.folder.glob("ran-*")]
        assert len(rows) == len(nodes)
        return sorted((seen, float(began), float(ended)) for seen, began, ended in rows)


@pytest.fixture(autouse=True)
def _no_choice_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_two_gpus_run_two_jobs_at_once_and_never_two_on_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path, together=2)
    ran = bench.run([bench.node(f"key{i}") for i in range(5)], SMALL, LARGE)
    assert {seen for seen, _, _ in ran} == {"GPU-small", "GPU-large"}
    on_one = [(one, other) for one, other in pairwise(ran) if one[0] == other[0]]
    assert all(one[2] <= other[1] for one, other in on_one)
    first, second = sorted(ran, key=lambda row: row[1])[:2]
    assert second[1] < first[2]
    assert not list(bench.store.root.glob("work/*.lock"))


def test_jobs_without_a_gpu_go_on_beside_those_that_wait(tmp_path: Path) -> None:
    bench = Bench(tmp_path, together=2)  # ends only if the second job does not wait for the one GPU
    waiting = [bench.node("key0"), bench.node("key1"), bench.node("key2", None)]
    ran = bench.run(waiting, SMALL)
    assert [seen for seen, _, _ in ran] == ["GPU-small", "GPU-small", "all"]


def test_a_job_gets_a_gpu_that_is_large_enough_and_leaves_larger_ones(tmp_path: Path) -> None:
    bench = Bench(tmp_path, together=3)
    huge = Gpu("GPU-huge", "huge", 141.0)
    ran = bench.run([bench.node("key0", 10), bench.node("key1", 40), bench.node("key2", 100)], huge, LARGE, SMALL)
    assert [seen for seen, _, _ in ran] == ["GPU-huge", "GPU-large", "GPU-small"]


def test_a_gpu_that_another_run_holds_is_not_free(tmp_path: Path) -> None:
    bench = Bench(tmp_path, together=1)
    node = bench.node("key0", 40)
    held = claim_gpu(node, (SMALL, LARGE), bench.folder)
    assert held is not None
    assert held.visible == "GPU-large"
    assert claim_gpu(node, (SMALL, LARGE), bench.folder) is None
    held.release()
    again = claim_gpu(node, (SMALL, LARGE), bench.folder)
    assert again is not None
    again.release()


def test_a_device_that_the_user_chose_is_held_under_its_own_name(tmp_path: Path) -> None:
    bench = Bench(tmp_path, together=1)
    node = bench.node("key0", device="cuda:1")
    claim = claim_gpu(node, (SMALL, LARGE), bench.folder)
    assert claim is not None
    assert (claim.visible, len(claim.leases)) == (None, 1)
    assert claim_gpu(node, (SMALL, LARGE), bench.folder) is None
    other = claim_gpu(bench.node("key1", 40, device="cuda:0"), (LARGE, SMALL), bench.folder)
    assert other is None  # the same GPU under another number
    claim.release()


def test_the_gpu_is_no_part_of_the_job_file(tmp_path: Path) -> None:
    bench = Bench(tmp_path, together=1)
    node = bench.node("key0")
    bench.run([node], LARGE)
    assert Job.model_validate_json((bench.store.record("cards", "key0") / "job.json").read_bytes()) == node.job


def test_without_a_list_of_gpus_a_job_is_not_kept_waiting(tmp_path: Path) -> None:
    bench = Bench(tmp_path, together=1)
    assert bench.run([replace(bench.node("key0"), gpu_gb=24.0)])[0][0] == "all"
