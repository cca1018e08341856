"""Leases: the right of one process to work on something, which others see and which ends with its holder.

A lease is a lock of the operating system on a file (flock), which the kernel releases when the last process that has
the file open ends. It holds between the processes of one machine, and on shared file systems whose locks reach other
machines. All that works on records takes its leases here, so this module alone decides what a lease is.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Lease:
    """A lease that is held.

    Attributes
    ----------
    path
        The file of the lease.
    descriptor
        That file, open. A process that inherits it keeps the lease after the death of the process that took it: while a
        worker whose runner was killed is still writing, no other runner enters its folder.
    """

    path: Path
    descriptor: int

    def release(self) -> None:
        """End the lease, for this process and all that inherited it."""
        # Removed while still locked: whoever has it open notices below that the file is gone, and opens the next one.
        self.path.unlink(missing_ok=True)
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        os.close(self.descriptor)


def take_lease(path: Path) -> Lease | None:
    """Return the lease of `path`, or None where another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        try:
            is_current = path.stat().st_ino == os.fstat(descriptor).st_ino
        except FileNotFoundError:
            is_current = False
        if is_current:
            return Lease(path, descriptor)
        os.close(descriptor)
