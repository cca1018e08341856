"""One process at a time: wait for a lock."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from pertharness.host.store.leases import take_lease

_POLL_S = 0.1


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` during the block; wait while another process or thread holds it."""
    while (lock := take_lease(path)) is None:
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        lock.release()
