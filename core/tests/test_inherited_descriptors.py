"""What the process of a job is born with: nothing in which it could find what another job left."""

import sys
from pathlib import Path

from pertharness.contract.jobs import Job, PluginRef
from pertharness.host.execution.local import local_executor
from pertharness.host.execution.nodes import Node
from pertharness.host.execution.runner import Runner
from pertharness.host.store.records import Store

PLUGIN = """
import os
import pertharness as p

def held():
    return [int(name) for name in os.listdir("/proc/self/fd") if int(name) > 2]

@p.hookimpl
def describe():
    print("FOUND", [number for number in held() if reads(number)])
    for number in held():
        try:
            os.write(number, b"left by a job")
        except OSError:
            pass
    return p.Card()

def reads(number):
    try:
        return b"left by a job" in os.pread(number, 1 << 16, 0)
    except OSError:
        return False
"""


def test_no_job_reads_what_another_one_wrote_where_their_worker_prints(tmp_path: Path) -> None:
    (tmp_path / "leaving.py").write_text(PLUGIN)
    python = tmp_path / "python"
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
    code += "from pertharness.worker.main import main; sys.exit(main(sys.argv[6:]))"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -W ignore -c "{code}" "$@"\n')
    python.chmod(0o755)
    ref = PluginRef(name="leaving", module="leaving", version="1")
    nodes = [
        Node(job=Job(key=key, stage="cards", plugin=ref), python=python, title=key, cheap=True)
        for key in ("first", "second")
    ]
    store = Store.open(tmp_path / "store")
    outcomes = Runner(store, local_executor(store.root, isolation="none")).run(nodes)
    assert [outcomes[key].state for key in ("first", "second")] == ["done", "done"], outcomes
    for key in ("first", "second"):
        assert "FOUND []" in (store.record("cards", key) / "log.txt").read_text()
