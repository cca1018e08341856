"""A lock between processes that ends with the last process holding it, however that dies."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Lock:
    """A lock that is held.

    Attributes
    ----------
    path
        The lock file.
    descriptor
        Open file of the lock. A child process that inherits it keeps the lock after its parent's death: while a worker
        whose runner was killed is still writing, no other runner enters its folder.
    """

    path: Path
    descriptor: int

    def release(self) -> None:
        """Release the lock for this process and all that inherited it."""
        # Removed while still locked: whoever has it open notices below that the file is gone, and opens the next one.
        self.path.unlink(missing_ok=True)
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        os.close(self.descriptor)


def try_lock(path: Path) -> Lock | None:
    """Return the lock on `path`, or None where another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        try:
            current = path.stat().st_ino == os.fstat(descriptor).st_ino
        except FileNotFoundError:
            current = False
        if current:
            return Lock(path, descriptor)
        os.close(descriptor)
