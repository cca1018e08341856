"""The processes below a watcher: adopted when their parents end, counted, and all ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import psutil

SET_CHILD_SUBREAPER, SET_PARENT_DEATH_SIGNAL = 36, 1
PATIENCE_S = 10.0
"""How long to keep ending processes that start others as fast as they are ended."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Ended:
    """The result of ending a tree of processes."""

    killed: int
    cpu_s: float


def become_subreaper() -> bool:
    """Make this process adopt all descendants whose parents end; return False if the system cannot do this."""
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def die_with_parent() -> None:
    """Make the system end this process when its parent ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


def children_of(pid: int) -> list[int]:
    """Return the processes whose parent is `pid`."""
    listed = Path(f"/proc/{pid}/task")
    if Path("/proc/self/task", str(os.getpid()), "children").exists():
        pids: list[int] = []
        with contextlib.suppress(OSError):
            for task in listed.iterdir():
                pids += map(int, (task / "children").read_text().split())
        return pids
    with contextlib.suppress(psutil.NoSuchProcess):
        return [child.pid for child in psutil.Process(pid).children()]
    return []


def descendants(root: int, skip: Collection[int] = ()) -> list[int]:
    """Return all processes below `root` except those of `skip`; processes below these are included."""
    pids: list[int] = []
    todo = [root]
    while todo:
        for child in children_of(todo.pop()):
            if child not in pids:
                pids.append(child)
                todo.append(child)
    return [pid for pid in pids if pid not in skip]


def resident_mb(pids: Collection[int]) -> float:
    """Return the resident size of some processes in MB; processes that have ended count 0."""
    total = 0
    for pid in pids:
        if sys.platform == "linux":
            with contextlib.suppress(OSError, ValueError, IndexError):
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        else:
            with contextlib.suppress(psutil.Error):
                total += psutil.Process(pid).memory_info().rss
    return total / 1e6


def end_all(keep: Collection[int] = ()) -> Ended:
    """Kill and reap all processes below this one except `keep`, repeatedly until none is left.

    Raises
    ------
    TimeoutError
        If some are left after `PATIENCE_S`, such as those that start others faster than they are ended.
    """
    killed: set[int] = set()
    cpu_s = 0.0
    deadline = time.monotonic() + PATIENCE_S
    while pids := _unreaped(keep):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(pids)} processes could not be ended, e.g. {pids[0]}")
        killed.update(pid for pid in pids if not has_ended(pid))
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            cpu_s += _reap(pid)
    return Ended(len(killed), cpu_s)


def _unreaped(keep: Collection[int]) -> list[int]:
    """Return the processes below this one that run, or wait for this process to take their exit status."""
    below = descendants(os.getpid(), keep)
    own = set(children_of(os.getpid())) if below else set()
    return [pid for pid in below if pid in own or not has_ended(pid)]


def _reap(pid: int) -> float:
    """Wait for a killed process if it is a child of this one, and return its CPU seconds."""
    try:
        _, _, usage = os.wait4(pid, 0)
    except ChildProcessError:  # a child of another process below, or already reaped
        time.sleep(0.001)
        return 0.0
    return float(usage.ru_utime + usage.ru_stime)


def has_ended(pid: int) -> bool:
    """Return whether a process has ended and only its exit status is left."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
