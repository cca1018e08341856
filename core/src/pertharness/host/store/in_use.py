"""Mark records that runs in progress rely on, so that nobody removes them between two jobs."""

from __future__ import annotations

import contextlib
import errno
import json
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pertharness.files.whole import write_text
from pertharness.host.store.leases import Lease, take_lease
from pertharness.host.store.records import Store

_INTERVAL_S = 0.02


@dataclass
class Use:
    """The keys that one run relies on, in a file that others can read while it runs."""

    store: Store
    path: Path | None
    """None if the store cannot be written."""
    keys: set[str] = field(default_factory=set)

    def add(self, keys: Iterable[str]) -> None:
        """Rely on more records; call this before checking which of them exist."""
        self.keys.update(keys)
        if self.path is None:
            return
        with nobody_else_removes(self.store):
            write_text(self.path, json.dumps(sorted(self.keys)))


@contextlib.contextmanager
def use_records(store: Store, keys: Iterable[str]) -> Iterator[Use]:
    """Rely on records, existing or not, until the block or the process ends.

    In a read-only store nothing is marked, because nothing can be removed either.
    """
    path = store.root / "work" / f"run-{uuid.uuid4().hex}.json"
    lock = _lock_where_writable(path.with_suffix(".lock"))
    use = Use(store, path if lock else None)
    try:
        use.add(keys)
        if lock:
            keys_in_use(store)  # removes leftovers of killed runs
        yield use
    finally:
        if lock:
            path.unlink(missing_ok=True)
            lock.release()


def _lock_where_writable(path: Path) -> Lease | None:
    """Return the lock on a private path; None in a read-only folder."""
    try:
        return take_lease(path)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return None
        raise


@contextlib.contextmanager
def nobody_else_removes(store: Store) -> Iterator[None]:
    """Prevent other processes from removing records or relying on new ones during the block; wait for them first."""
    path = store.root / "work" / "removing.lock"
    while (lock := take_lease(path)) is None:
        time.sleep(_INTERVAL_S)
    try:
        yield
    finally:
        lock.release()


def keys_in_use(store: Store) -> set[str]:
    """Return the keys that runs in progress rely on, and remove leftovers of killed runs."""
    keys: set[str] = set()
    for path in (store.root / "work").glob("run-*.json"):
        lock = take_lease(path.with_suffix(".lock"))
        if lock is None:
            with contextlib.suppress(FileNotFoundError):  # it has just ended
                keys.update(json.loads(path.read_text(encoding="utf-8")))
        else:
            path.unlink(missing_ok=True)
            lock.release()
    return keys
