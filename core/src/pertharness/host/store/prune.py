"""Removing records that nobody needs: never one that a kept run names, that a running job reads, or what these need."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pertharness.contract.jobs import Stage
from pertharness.files.trees import remove_tree, unlock_folder
from pertharness.host.store.in_use import keys_in_use, nobody_else_removes
from pertharness.host.store.lock import try_lock
from pertharness.host.store.records import JOB, STAGES, STATUS, Store
from pertharness.host.store.space import CACHES, OF_A_JOB, Measure, Space, entries, unfinished
from pertharness.host.store.verify import record_of

KEPT_STAGES: tuple[Stage, ...] = ("cards",)
"""A few kilobytes each, and looked at before a run is known to be one."""


@dataclass
class Pruned:
    """What was removed, or would be.

    Attributes
    ----------
    removed
        Kind -> number of entries and bytes.
    n_kept
        Records that stay.
    n_used
        Of these, those that runs in progress rely on.
    left
        What was left alone, with the reason.
    """

    removed: dict[str, Space] = field(default_factory=dict)
    n_kept: int = 0
    n_used: int = 0
    left: list[str] = field(default_factory=list)

    def add(self, kind: str, n_bytes: int) -> None:
        """Count one more entry of a kind."""
        space = self.removed.setdefault(kind, Space(kind))
        space.number += 1
        space.n_bytes += n_bytes


def prune(store: Store, manifests: Iterable[Mapping[str, Any]], older_s: float | None, *, dry_run: bool) -> Pruned:
    """Remove what is neither needed nor, if an age is given, young.

    A record is needed if a run that is kept names it, if a run in progress relies on it, if a job is at it, or if it is
    young; and if a record or job that is needed reads it.

    Parameters
    ----------
    store
        Its records and unfinished work; also its caches, where nothing is running.
    manifests
        Of the runs to keep.
    older_s
        Seconds; what ended later than so long ago is young. None: nothing is.
    dry_run
        Only say what would be removed.
    """
    pruned, doomed = Pruned(), list[tuple[str, Path]]()
    since = None if older_s is None else time.time() - older_s
    with nobody_else_removes(store):
        places, work = _places(store, pruned), list(unfinished(store))
        used = keys_in_use(store) | _keys_at_work(store)
        young = {key for key, path in places.items() if since is not None and ended(path) > since}
        named = {key for manifest in manifests for key in manifest["records"]}
        needed = _with_inputs(store, places, used | young | named)
        pruned.n_kept, pruned.n_used = len(places.keys() & needed), len(places.keys() & used)
        for key, path in places.items():
            if key not in needed and path.parent.name not in KEPT_STAGES:
                _doom(store, path.parent.name, key, path, doomed, pruned, dry_run=dry_run)
            elif key not in needed:
                pruned.n_kept += 1
        for key, path in work:
            half_removed = ".old-" in path.name
            if half_removed or (key not in needed and (since is None or _newest(path) <= since)):
                _doom(store, "unfinished", key, path, doomed, pruned, dry_run=dry_run)
    if used:
        pruned.left += [f"{name}: a run is in progress" for name in CACHES if any(entries(store.root / name))]
    else:
        caches = [path for name in CACHES for path in entries(store.root / name)]
        doomed += [("caches", path) for path in caches if since is None or _newest(path) <= since]
    measure = Measure()
    for kind, path in doomed:
        pruned.add(kind, measure.size(path))
        if not dry_run:
            with contextlib.suppress(OSError):  # what cannot be removed now is by the next call
                remove_tree(path)
    return pruned


def _places(store: Store, pruned: Pruned) -> dict[str, Path]:
    """Return the folder of every record by key; what is a link leads out of the store and is left alone."""
    places: dict[str, Path] = {}
    for stage in STAGES:
        folder = store.root / stage
        if folder.is_symlink():
            pruned.left.append(f"{stage}: is a link")
        for path in entries(folder):
            if path.is_symlink():
                pruned.left.append(f"{stage}/{path.name}: is a link")
            elif OF_A_JOB.fullmatch(path.name) and path.is_dir():
                places[path.name] = path
    return places


def _keys_at_work(store: Store) -> set[str]:
    """Return the keys of jobs that somebody is at: also of a run that was killed, while its worker lives."""
    busy = set()
    for path in entries(store.root / "work"):
        match = OF_A_JOB.fullmatch(path.name)
        if match and path.suffix == ".lock":
            lock = try_lock(path)
            if lock is None:
                busy.add(match[1])
            else:
                lock.release()
    return busy


def _with_inputs(store: Store, places: Mapping[str, Path], keys: Iterable[str]) -> set[str]:
    """Return keys with those of all records that their jobs read, and that those read, and so on."""
    needed, todo = set[str](), list(keys)
    while todo:
        key = todo.pop()
        if key not in needed:
            needed.add(key)
            todo += [each for folder in (places.get(key), store.work(key)) if folder for each in _inputs(folder)]
    return needed


def _inputs(folder: Path) -> set[str]:
    """Return the keys of the records that the job of a folder reads; none where its file cannot be read."""
    try:
        job = json.loads((folder / JOB).read_bytes())
        parts = job.get("key_parts") or {}
        paths = [path for name in ("inputs", "references", "embeddings") for path in job[name].values()]
        keys = {str(key) for key in parts.get("inputs", {}).values()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return set()
    return keys | {origin[1] for path in paths if (origin := record_of(Path(str(path))))}


def ended(record: Path) -> float:
    """Return when the job of a record ended, in seconds since the epoch."""
    try:
        finished = json.loads((record / STATUS).read_bytes())["finished"]
        return datetime.fromisoformat(finished).timestamp()
    except (OSError, ValueError, KeyError, TypeError):  # damaged, or written by somebody who had no time to tell
        return _newest(record)


def _newest(path: Path) -> float:
    """Return when a file or something in a folder was last changed; now, where it is gone meanwhile."""
    try:
        return max(each.lstat().st_mtime for each in [path, *entries(path)])
    except OSError:
        return time.time()


def _doom(
    store: Store, kind: str, key: str, path: Path, doomed: list[tuple[str, Path]], pruned: Pruned, *, dry_run: bool
) -> None:
    """Put a job's folder out of sight, under its lock, and note that it is to be removed; or leave it alone."""
    lock = store.lock(key)
    if lock is None:
        pruned.left.append(f"{kind}/{path.name}: a job is at it")
        return
    try:
        out_of_sight = path
        if not dry_run and ".old-" not in path.name:
            out_of_sight = store.root / "work" / f"{path.name}.old-{os.getpid()}"
            unlock_folder(str(path))  # a folder that its owner must not change cannot be moved
            path.rename(out_of_sight)
        doomed.append((kind, out_of_sight))
    except OSError as error:
        pruned.left.append(f"{kind}/{path.name}: {error.strerror}")
    finally:
        lock.release()
