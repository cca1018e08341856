"""The entries of ``/proc`` that a sandboxed process may read, and how they stay those that it may read."""

from __future__ import annotations

import contextlib
import os
import sys

PROC = tuple(
    f"/proc/{name}" for name in ("cpuinfo", "meminfo", "stat", "loadavg", "uptime", "version", "filesystems", "sys",
                                 "driver", "devices")
)  # fmt: skip
OWN_PROC = tuple(
    f"/proc/self/{name}"
    for name in ("auxv", "cgroup", "cmdline", "comm", "environ", "fd", "fdinfo", "io", "limits", "maps", "mountinfo",
                 "mounts", "oom_score", "oom_score_adj", "smaps", "smaps_rollup", "stat", "statm", "status")
)  # fmt: skip
"""All below ``/proc/self`` except ``net`` (also in ``task``), which lists the sockets of other processes with their
paths, and except links: a rule on ``root`` would apply to the whole file system."""
THREADS = "/proc/self/task"


def hold_entries() -> list[int]:
    """Open the entries for as long as this process runs, and return the descriptors, which give no right to read.

    Landlock's rules are for entries as they are in memory. When Linux frees memory, it forgets those of ``/proc`` that
    nobody has open, and makes new ones when they are read again, to which no rule applies: a job that may read them
    suddenly may not.
    """
    if sys.platform != "linux":
        return []
    descriptors = []
    for path in (*PROC, *OWN_PROC, THREADS, "/proc/self"):
        with contextlib.suppress(OSError):  # absent here
            descriptors.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
    return descriptors
