"""The process of one or more jobs while it runs: its limits and its end, with all processes that it started."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from pertharness.contract.errors import StoreError
from pertharness.contract.jobs import CLAIM, LOG, OUT, Cost, State
from pertharness.files.full_disk import FULL
from pertharness.files.whole import write_text
from pertharness.host.execution.batch import Launch
from pertharness.host.execution.plain_files import is_there, open_plain, read_end, unlock_job
from pertharness.host.execution.settle import End
from pertharness.host.execution.start import WarmWorker
from pertharness.host.execution.tree import descendants, end_all, resident_mb
from pertharness.worker.job_run import DISK_FULL

SAMPLE_S, SHARE = 0.05, 0.005
"""Shortest time between two measurements of memory, and the largest share of a job's time that they may take."""
USAGE_S = 1.0
"""Time between two reports of time and memory."""
LOG_LIMIT = 64_000_000
"""Bytes of the log; more than anybody reads, and little compared with the data."""
SHELL_SIGNALS = 128
"""Added by bubblewrap, as by shells, to the number of a signal to get an exit status."""
_APPEND = os.O_WRONLY | os.O_APPEND
Excess = tuple[State, str, str]
"""State, type and message of a job that went over a limit."""


class RunnerGoneError(Exception):
    """The runner has ended, so all work must stop."""


@dataclass
class Group:
    """The process of one or more jobs while it runs, and all processes that it starts."""

    control: socket.socket
    """Socket that the runner closes when it ends."""
    report: Callable[[dict[str, Any]], None]
    """Sends a message to the runner."""
    launches: tuple[Launch, ...]
    pid: int
    output: IO[bytes]
    keep: tuple[int, ...]
    parent: WarmWorker | None = None
    """The parent of the process, which reports how it ended; None if that is the watcher."""
    began: int = 0
    """Position in `output` where its own output begins."""
    wrapped: bool = False
    """Whether the process is bubblewrap, which runs the job's process."""
    peak_mb: float = 0.0
    rss_mb: float = 0.0
    reported: float = 0.0

    def wait(self) -> list[End | None]:
        """Return how each job ended; None for a job that the process did not reach."""
        ends: list[End | None] = []
        for launch in self.launches:
            self.report({"started": launch.job.key})
            since, started = time.monotonic(), now()
            _note_start(launch, json.dumps({"pid": self.pid, "started": started}))
            last = launch is self.launches[-1]
            excess, code = self._until_end(launch, since, last=last)
            if not excess and code is None:  # it goes on to the next job
                cost = Cost(wall_s=time.monotonic() - since, cpu_s=0.0, peak_rss_mb=self.peak_mb)
                ends.append(End(cost, started))
                continue
            wall_s = time.monotonic() - since
            ends.append(self._end(launch, excess, code, wall_s, started))
            break
        return ends + [None] * (len(self.launches) - len(ends))

    def _until_end(self, launch: Launch, since: float, *, last: bool) -> tuple[Excess | None, int | None]:
        """Watch the process until it ends, reaches the next job, or exceeds a limit."""
        with _ending(self.pid) if self.parent is None else _answering(self.parent) as descriptor:
            pause = SAMPLE_S
            while True:
                if self._wait(descriptor, pause):
                    return None, 0
                if not last and is_there(launch.folder / OUT / CLAIM):
                    return None, None
                before = time.thread_time()
                self._sample(launch, since)
                if excess := self._excess(launch, since):
                    return excess, None
                pause = max(SAMPLE_S, (time.thread_time() - before) / SHARE)
                if launch.timeout_s is not None:
                    pause = min(pause, max(0.01, since + launch.timeout_s - time.monotonic()))

    def _wait(self, descriptor: int, pause: float) -> bool:
        """Return whether the process ended within a time.

        Raises
        ------
        RunnerGoneError
            If the runner closed its end.
        """
        if self.parent is not None and self.parent.has_answer:
            return True
        watched = [self.control] + ([descriptor] if descriptor >= 0 else [])
        ready, _, _ = select.select(watched, [], [], pause)
        if self.control in ready:
            raise RunnerGoneError
        if descriptor >= 0:
            return descriptor in ready
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _sample(self, launch: Launch, since: float) -> None:
        self.rss_mb = resident_mb(descendants(os.getpid(), self.keep))
        self.peak_mb = max(self.peak_mb, self.rss_mb)
        _cut(launch.folder / OUT / LOG)
        self._report_usage(launch, since)

    def _report_usage(self, launch: Launch, since: float) -> None:
        """Send the usage of a job from time to time."""
        if time.monotonic() - self.reported > USAGE_S:
            self.reported = time.monotonic()
            self.report({"usage": launch.job.key, "seconds": self.reported - since, "rss_mb": self.rss_mb})

    def _excess(self, launch: Launch, since: float) -> Excess | None:
        """Return state, type and message if a job exceeds one of its limits."""
        if launch.timeout_s is not None and time.monotonic() - since >= launch.timeout_s:
            message = f"not finished after {launch.timeout_s:g} s; raise --timeout, or check in the log where it hangs"
            return "timeout", "Timeout", message
        if launch.memory_mb is not None and self.rss_mb > launch.memory_mb:
            used = f"used {self.rss_mb:.0f} MB of memory, the limit is {launch.memory_mb:.0f} MB"
            return "crashed", "MemoryLimit", f"{used}; raise --memory if the machine has more"
        return None

    def _end(self, launch: Launch, excess: Excess | None, code: int | None, wall_s: float, started: str) -> End:
        """End all processes of the job, and return how it ended and what it cost."""
        if excess:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        code, cpu_s, largest_mb = self._reap()
        if sys.platform != "linux":  # no process is adopted there, so end those that stayed in the process group
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        rest = end_all(self.keep)
        with contextlib.suppress(OSError):  # if this fails, settling the job reports it
            unlock_job(launch)
        if rest.killed and not self.wrapped:  # bubblewrap ends all processes in its namespace; some are its own
            _add_to_log(launch, f"pertharness: ended {rest.killed} processes that the job left behind\n")
        cost = Cost(wall_s=wall_s, cpu_s=cpu_s + rest.cpu_s, peak_rss_mb=max(self.peak_mb, largest_mb))
        # It may have finished at the last moment, or a library may have crashed after all work was done.
        if is_there(launch.folder / OUT / CLAIM):
            return End(cost, started)
        if excess:
            return End(cost, started, *excess, output=self._output())
        return End(cost, started, "crashed", *self._death(launch, code), output=self._output())

    def _reap(self) -> tuple[int, float, float]:
        """Return exit status, CPU seconds and peak size in MB of the process, which has ended or is about to."""
        if self.parent is None:
            _, status, usage = os.wait4(self.pid, 0)
            cpu_s, largest = usage.ru_utime + usage.ru_stime, float(usage.ru_maxrss)
        else:
            end = self.parent.read()
            if end is None:  # it ended, and so did its child
                return -signal.SIGKILL, 0.0, 0.0
            status, cpu_s, largest = int(end["status"]), end["cpu_s"], end["max_rss"]
        return os.waitstatus_to_exitcode(status), cpu_s, largest / (1e3 if sys.platform == "linux" else 1e6)

    def _death(self, launch: Launch, code: int) -> tuple[str, str]:
        """Return type and message for a process that ended without a claim."""
        if code == DISK_FULL:
            return str(DISK_FULL), ""
        if self.wrapped and code - SHELL_SIGNALS in set(signal.Signals):
            code = SHELL_SIGNALS - code
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"number {-code}"
            hint = "; the system does this to a process when memory runs out" if name == "SIGKILL" else ""
            return name, f"the worker was ended by the signal {name}{hint}"
        words = last_line(_tail(launch.folder / OUT / LOG) + self._output())
        last = f"; its last output: {words}" if words else ""
        return "Exit", f"the worker ended with exit status {code} and without a result{last}"

    def _output(self) -> str:
        return read_end(self.output, self.began)


@contextlib.contextmanager
def _ending(pid: int) -> Iterator[int]:
    """Yield a descriptor that is readable once a process has ended; -1 if the system has none."""
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        yield -1
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _answering(worker: WarmWorker) -> Iterator[int]:
    """Yield a descriptor that is readable once a warm worker reports how its child ended."""
    yield worker.control.fileno()


def _note_start(launch: Launch, note: str) -> None:
    """Write the time at which a job started into its folder, for people; the job may have closed that folder."""
    try:
        write_text(launch.folder / "started.json", note, synced=False)
    except OSError as error:
        if error.errno in FULL:
            raise


def _cut(log: Path) -> None:
    """Cut a log that grows without end to its beginning; further output is appended."""
    # In the worker's append mode, each side writes at the current end.
    with contextlib.suppress(OSError, StoreError), os.fdopen(open_plain(log, _APPEND), "ab") as file:
        if os.fstat(file.fileno()).st_size > LOG_LIMIT:
            file.truncate(LOG_LIMIT // 2)
            file.write(b"\n[pertharness: the log was cut here, it grew too large]\n")


def _add_to_log(launch: Launch, line: str) -> None:
    """Add a line to a log that is complete."""
    log = launch.folder / OUT / LOG
    with contextlib.suppress(OSError, StoreError), os.fdopen(open_plain(log, _APPEND), "ab") as file:
        file.write(line.encode())


def _tail(log: Path) -> str:
    """Return the end of a log that is complete."""
    try:
        descriptor = open_plain(log)
    except (OSError, StoreError):
        return ""
    with os.fdopen(descriptor, "rb") as file:
        return read_end(file)


def last_line(text: str) -> str:
    """Return the last line that is not empty."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def now() -> str:
    """Return the time in the format of records."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
