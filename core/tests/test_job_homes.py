"""What a job finds in place of a home and of room for temporary files, and that child processes work there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pertharness.contract.jobs import Job, PluginRef
from pertharness.host.execution.local import local_executor
from pertharness.host.execution.nodes import Node
from pertharness.host.execution.runner import Runner
from pertharness.host.execution.sandbox import describe_machine, find_mechanism
from pertharness.host.store.records import Store

PLUGIN = """
import multiprocessing, os, pathlib, tempfile
import numpy as np
import pertharness as p
from multiprocessing.shared_memory import SharedMemory

def double(x):
    with tempfile.NamedTemporaryFile() as file:  # a child has a temporary folder too
        file.write(b"x")
    return 2 * x

def grow(values, name):
    block = SharedMemory(name=name)
    np.ndarray(2, dtype=float, buffer=block.buf)[:] += 1
    block.close()
    values.append(os.getpid())

@p.hookimpl
def describe():
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            assert pool.map(double, [1, 2]) == [2, 4]
    block = SharedMemory(create=True, size=16)
    array = np.ndarray(2, dtype=float, buffer=block.buf)
    array[:] = 0
    with multiprocessing.Manager() as manager:  # over a socket with a name
        values = manager.list()
        child = multiprocessing.Process(target=grow, args=(values, block.name))
        child.start()
        child.join()
        assert len(values) == 1 and child.exitcode == 0
    assert (array == 1).all()
    del array
    block.close()
    block.unlink()
    assert os.path.samefile(tempfile.gettempdir(), pathlib.Path.home())
    print("home:", os.path.realpath(pathlib.Path.home()))
    return p.Card()
"""


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files that is this test's alone; not `tmp_path`, whose name is long."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


@pytest.mark.parametrize("isolation", ["landlock", "bwrap", "none"])
def test_processes_of_a_job_talk_and_share_memory_however_deep_the_store_lies(
    isolation: str, python_with: Callable[[str, str], Path], temporary: Path, tmp_path: Path
) -> None:
    if find_mechanism(isolation) is None:
        pytest.skip(describe_machine())
    store = Store.open(tmp_path / "a folder with a rather long name" / "another folder with a long name" / "store")
    assert len(str(store.root)) > 108 - 64  # with the key it is longer than the name of a socket may be
    key = "k" * 64
    job = Job(key=key, stage="cards", plugin=PluginRef(name="children", module="plugin_with_children", version="1"))
    python = python_with("plugin_with_children", PLUGIN)
    node = Node(job=job, python=python, title="children", timeout_s=300)
    outcome = Runner(store, local_executor(store.root, isolation=isolation)).run([node])[key]
    log = (store.record("cards", key) / "log.txt").read_text()
    assert outcome.state == "done", outcome.message + log
    home = store.work(key).resolve() / "home"
    assert f"home: {home}\n" in log
    assert not list(temporary.iterdir())
    assert outcome.status is not None
    assert outcome.status.isolation is not None
    assert outcome.status.isolation.mechanism == isolation
