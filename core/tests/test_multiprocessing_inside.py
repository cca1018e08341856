"""What a plugin may start inside the sandbox: processes, and what these share."""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pertharness.contract.jobs import Job, PluginRef
from pertharness.host.execution.local import local_executor
from pertharness.host.execution.nodes import Node
from pertharness.host.execution.runner import Runner
from pertharness.host.execution.sandbox import find_mechanism
from pertharness.host.store.records import Store

PLUGIN = """
import json
import multiprocessing as mp
from multiprocessing import shared_memory
import pertharness as p

def double(x):
    return 2 * x

def put(channel, value):
    channel.put(value) if hasattr(channel, "put") else channel.send(value)

def pool(context):
    with context.Pool(2) as workers:
        return workers.map(double, [1, 2]) == [2, 4]

def queue(context):
    channel = context.Queue()
    child = context.Process(target=put, args=(channel, 7))
    child.start()
    answer = channel.get(timeout=200)
    child.join()
    return answer == 7

def pipe(context):
    mine, theirs = context.Pipe()
    child = context.Process(target=put, args=(theirs, 7))
    child.start()
    answer = mine.recv()
    child.join()
    return answer == 7

def lock(context):
    with context.Lock():
        return True

def memory(context):
    block = shared_memory.SharedMemory(create=True, size=64)
    block.close()
    block.unlink()
    return True

def manager(context):
    with context.Manager() as keeper:
        kept = keeper.dict()
        kept["x"] = 1
        return kept["x"] == 1

@p.hookimpl
def describe():
    results = {}
    for way in ("fork", "spawn"):
        context = mp.get_context(way)
        for trial in (pool, queue, pipe, lock, memory, manager):
            try:
                results[f"{way} {trial.__name__}"] = "works" if trial(context) else "wrong"
            except Exception as error:
                results[f"{way} {trial.__name__}"] = type(error).__name__
    print("RESULTS", json.dumps(results))
    return p.Card()
"""
NEEDS_MEMORY = ("pool", "queue", "lock", "memory")
"""What makes a semaphore or a block of memory with a name, in /dev/shm."""


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """Return a link to this interpreter, for which the harness so starts a worker of its own, with the plugin."""
    folder = tmp_path / "venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    (folder / "pyvenv.cfg").write_text(f"home = {Path(sys.base_prefix) / 'bin'}\n")
    site = folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    site.mkdir(parents=True)
    others = [path for path in sys.path if path.endswith("site-packages")]
    (site / "others.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in others))
    (site / "parallel.py").write_text(PLUGIN)
    return folder / "bin" / "python"


@pytest.fixture
def short() -> Iterator[Path]:
    """Return a folder with a short name: that of a manager's socket lies beneath it, and has 108 bytes at most."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.skipif(find_mechanism("auto") == "none", reason="no isolation on this machine")
@pytest.mark.parametrize("cheap", [False, True], ids=["alone", "forked"])
def test_jobs_may_work_in_parallel(cheap: bool, python: Path, short: Path) -> None:
    store = Store.open(short)
    job = Job(key="parallel", stage="cards", plugin=PluginRef(name="parallel", module="parallel", version="1"))
    node = Node(job=job, python=python, title="parallel", cheap=cheap, timeout_s=600)
    outcome = Runner(store, local_executor(store.root)).run([node])["parallel"]
    assert outcome.state == "done", outcome
    log = (store.record("cards", "parallel") / "log.txt").read_text()
    [line] = [line for line in log.splitlines() if line.startswith("RESULTS ")]
    results = json.loads(line.removeprefix("RESULTS "))
    refused = {name: words for name, words in results.items() if cheap and name.split()[1] in NEEDS_MEMORY}
    assert set(refused.values()) <= {"PermissionError"}, results
    assert {words for name, words in results.items() if name not in refused} == {"works"}, results
