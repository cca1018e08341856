"""What a warm worker says is held against what there is, and it imports nothing of a plugin's author."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pertharness.contract.jobs import Job, PluginRef
from pertharness.host.execution.start import WarmWorker
from pertharness.worker import warm
from pertharness.worker.landlock import Grants


@pytest.fixture
def answering() -> Iterator[tuple[WarmWorker, socket.socket]]:
    """A warm worker of another interpreter, and the socket at which a hostile one would sit."""
    mine, theirs = socket.socketpair()
    with tempfile.TemporaryFile() as output, subprocess.Popen(["sleep", "60"]) as process, theirs:
        yield WarmWorker("kind", process.pid, mine, output, Grants()), theirs
        process.kill()
        mine.close()


def test_a_process_that_is_not_below_the_watcher_is_not_the_jobs(
    answering: tuple[WarmWorker, socket.socket],
) -> None:
    worker, theirs = answering
    with subprocess.Popen(["sleep", "60"]) as child:
        for pid, believed in ((child.pid, True), (os.getppid(), False), (1, False), (os.getpid(), False),
                              (worker.pid, False), (-1, False), (0, False)):  # fmt: skip
            theirs.send(json.dumps({"pid": pid}).encode() + b"\n")
            assert (worker.fork({}) == pid) == believed, pid
        child.kill()


@pytest.mark.parametrize(
    "answer",
    [b"nonsense\n", b"[1]\n", b'{"pid": "x"}\n', b'{"pid": null}\n', b"[" * 9000 + b"\n", b"{}\n", b"x" * 90_000],
)
def test_an_answer_without_sense_is_none(answer: bytes, answering: tuple[WarmWorker, socket.socket]) -> None:
    worker, theirs = answering
    theirs.send(answer)
    assert worker.fork({}) is None


def test_a_worker_that_says_nothing_is_not_waited_for_for_ever(answering: tuple[WarmWorker, socket.socket]) -> None:
    worker, _ = answering
    assert worker.fork({}, timeout_s=0.05) is None


def test_only_common_libraries_are_imported_where_jobs_fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sibling_of_a_plugin.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("scipy.fftpack", None)
    job = Job(key="k", stage="cards", plugin=PluginRef(name="mine", module="mine", version="1"))
    (tmp_path / "job.json").write_text(job.model_dump_json())
    warm._prepare(tmp_path / "job.json", ("sibling_of_a_plugin", "scipy.fftpack", "no_such_module"))
    assert "sibling_of_a_plugin" not in sys.modules
    assert "scipy.fftpack" in sys.modules
