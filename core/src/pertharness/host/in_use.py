"""Which records the runs in progress rely on, so that nobody takes these away between two of their jobs."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pertharness.files import write_text
from pertharness.host.lock import try_lock
from pertharness.host.store import Store

_INTERVAL_S = 0.02


@dataclass
class Use:
    """The keys that one run relies on, in a file that others can read while it runs."""

    store: Store
    path: Path
    keys: set[str] = field(default_factory=set)

    def add(self, keys: Iterable[str]) -> None:
        """Rely on more records; before anybody looks at which of them are there."""
        self.keys.update(keys)
        with nobody_else_removes(self.store):
            write_text(self.path, json.dumps(sorted(self.keys)))


@contextlib.contextmanager
def use_records(store: Store, keys: Iterable[str]) -> Iterator[Use]:
    """Rely on records, whether they are there or not, until the block or the process ends."""
    keys_in_use(store)  # takes away what killed runs left
    path = store.root / "work" / f"run-{uuid.uuid4().hex}.json"
    lock = try_lock(path.with_suffix(".lock"))
    assert lock is not None, "nobody else knows the name"
    use = Use(store, path)
    try:
        use.add(keys)
        yield use
    finally:
        path.unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def nobody_else_removes(store: Store) -> Iterator[None]:
    """Let no record be removed, and no run begin to rely on one, while the block is carried out; wait for others."""
    path = store.root / "work" / "removing.lock"
    while (lock := try_lock(path)) is None:
        time.sleep(_INTERVAL_S)
    try:
        yield
    finally:
        lock.release()


def keys_in_use(store: Store) -> set[str]:
    """Return the keys that runs in progress rely on; what a run left that was killed is taken away."""
    found: set[str] = set()
    for path in (store.root / "work").glob("run-*.json"):
        lock = try_lock(path.with_suffix(".lock"))
        if lock is None:
            with contextlib.suppress(FileNotFoundError):  # it has just ended
                found.update(json.loads(path.read_text(encoding="utf-8")))
        else:
            path.unlink(missing_ok=True)
            lock.release()
    return found
