"""A worker process: started for a list of jobs, watched, ended when a job takes too long or too much memory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from pertharness.errors import StoreError
from pertharness.files import write_text
from pertharness.host.lock import Lock
from pertharness.host.nodes import Node
from pertharness.host.store import JOB, LOG, STATUS, Store, read_status
from pertharness.jobs import State, Status
from pertharness.worker.main import DISK_FULL, LOG_TAIL, tail
from pertharness.worker.meter import tree_rss

MEMORY_INTERVAL_S = 0.25
_OF_THE_CALLER = frozenset({"PWD", "OLDPWD", "_", "VIRTUAL_ENV", "CONDA_PREFIX", "__PYVENV_LAUNCHER__"})
"""Variables that say where the command was called, or from which environment."""
LOG_LIMIT = 64_000_000
"""Bytes: more than anybody reads, and little beside the data."""


class DiskFullError(StoreError):
    """The store's disk is full: nothing more can be recorded."""


@dataclass
class WorkerProcess:
    """A running worker and the jobs that it has not ended yet, the first of which it is at."""

    store: Store
    nodes: list[Node]
    locks: dict[str, Lock]
    popen: subprocess.Popen[bytes]
    output: IO[bytes]
    since: float = field(default_factory=time.monotonic)
    """When the worker came to its present job."""
    measured: float = 0.0
    rss_mb: float = 0.0

    def poll(self) -> list[tuple[Node, Status]]:
        """Give the jobs that ended since the last call, with their status; end the worker if it went too far.

        Raises
        ------
        DiskFullError
            If the worker found no space for its files.
        """
        code = self.popen.poll()
        ended = self._collect()
        if not self.nodes:
            self.kill()
        elif code is not None:
            ended.append(self._end(*self._death(code)))
        elif excess := self._excess():
            self.kill()
            ended += self._collect() or [self._end(*excess)]  # it may have finished at the last moment
        return ended

    def _collect(self) -> list[tuple[Node, Status]]:
        ended = []
        while self.nodes and (self.store.work(self.nodes[0].key) / STATUS).exists():
            node = self.nodes.pop(0)
            self.since = time.monotonic()
            status = read_status(self.store.work(node.key), node.key)
            if status is None:
                message = "the worker's status cannot be read, or its files are not whole"
                status = self._write(node, "crashed", "Damaged", message)
            ended.append((node, status))
        return ended

    def _excess(self) -> tuple[State, str, str] | None:
        """Give state, type and message where the present job is over one of its limits."""
        node, now = self.nodes[0], time.monotonic()
        if node.timeout_s is not None and now - self.since > node.timeout_s:
            message = f"not finished after {node.timeout_s:g} s; raise --timeout, or see in the log where it hangs"
            return "timeout", "Timeout", message
        if now - self.measured > MEMORY_INTERVAL_S:
            self.measured = now
            _cut(self.store.work(node.key) / LOG)
            with contextlib.suppress(psutil.NoSuchProcess):
                self.rss_mb = tree_rss(psutil.Process(self.popen.pid)) / 1e6
            if node.memory_mb is not None and self.rss_mb > node.memory_mb:
                used = f"used {self.rss_mb:.0f} MB of memory, the limit is {node.memory_mb:.0f} MB"
                return "crashed", "MemoryLimit", f"{used}; raise --memory if the machine has more"
        return None

    def _death(self, code: int) -> tuple[State, str, str]:
        """Give state, type and message for a worker that ended before its present job did."""
        if code == DISK_FULL:
            raise DiskFullError(
                f"the disk of the store {str(self.store.root)!r} is full; make room and run the same command again"
            )
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"number {-code}"
            hint = "; this is how the system ends a process when memory runs out" if name == "SIGKILL" else ""
            return "crashed", name, f"the worker was ended by the signal {name}{hint}"
        words = [line.strip() for line in self._said(self.nodes[0]).splitlines() if line.strip()]
        last = f"; its last words: {words[-1][:300]}" if words else ""
        return "crashed", "Exit", f"the worker ended with exit status {code} and without an answer{last}"

    def _end(self, state: State, type_: str, message: str) -> tuple[Node, Status]:
        node = self.nodes.pop(0)
        return node, self._write(node, state, type_, message)

    def _write(self, node: Node, state: State, type_: str, message: str) -> Status:
        log = self._said(node)
        status = Status(key=node.key, state=state, type=type_, message=message, log_tail=log, device=node.job.device)
        write_text(self.store.work(node.key) / STATUS, status.model_dump_json(indent=1))
        return status

    def _said(self, node: Node) -> str:
        """Give the end of a job's log, and of what the worker said outside of any job."""
        self.output.seek(0)
        said = self.output.read()[-LOG_TAIL:].decode("utf-8", "replace")
        return tail(self.store.work(node.key) / LOG) + said

    def kill(self) -> None:
        """End the worker and every child that stayed in its session."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()

    def close(self) -> None:
        """End the worker if it still runs, release its locks and its output."""
        self.kill()
        for lock in self.locks.values():
            lock.release()
        self.output.close()


def _cut(log: Path) -> None:
    """Keep the beginning of a log that grows without end: what the plugin prints next follows it."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_LIMIT:
            with log.open("ab") as file:  # in the worker's own mode: each side writes at what is then the end
                file.truncate(LOG_LIMIT // 2)
                file.write(b"\n[pertharness: the log was cut here, it grew too large]\n")


def start_worker(store: Store, nodes: Sequence[Node], locks: dict[str, Lock], gpu: str | None = None) -> WorkerProcess:
    """Start one worker for jobs of one interpreter, each of whose folders is locked and holds its ``job.json``.

    `gpu` is the only one that the worker is to see, as ``CUDA_VISIBLE_DEVICES`` calls it; `locks` may hold a lock on it
    too, which then ends with the worker.
    """
    files = [str(store.work(node.key) / JOB) for node in nodes]
    # Nothing that tells a plugin where the user keeps data: not the folder in which the command was called, either.
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PERTHARNESS_", "PYTHON")) and name not in _OF_THE_CALLER
    }
    # What the plugin starts itself is of its own environment, too: its programs first, no packages of the user's.
    path = os.pathsep.join([str(nodes[0].python.parent), os.environ.get("PATH", os.defpath)])
    kept |= {"PATH": path, "PYTHONNOUSERSITE": "1"}
    if gpu is not None:
        kept["CUDA_VISIBLE_DEVICES"] = gpu
    output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
    popen = subprocess.Popen(
        [str(nodes[0].python), "-I", "-m", "pertharness.worker", *files],
        stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        cwd=store.root / "work",
        env={**kept, "PERTHARNESS_RUNNER": str(os.getpid())}, pass_fds=[lock.descriptor for lock in locks.values()],
    )  # fmt: skip
    return WorkerProcess(store, list(nodes), locks, popen, output)
