"""Remove unneeded records: those that no kept run names, no running job reads, and no needed record reads."""

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

from pertharness.files.trees import remove_tree, unlock_folder
from pertharness.host.store.in_use import keys_in_use, nobody_else_removes
from pertharness.host.store.leases import take_lease
from pertharness.host.store.records import JOB, STAGES, STATUS, Store
from pertharness.host.store.space import CACHES, OF_A_JOB, Measure, Space, entries, unfinished
from pertharness.host.store.verify import record_of


@dataclass
class Pruned:
    """What was removed, or would be removed.

    Attributes
    ----------
    removed
        Kind -> number of entries and bytes.
    n_kept
        Records that stay.
    n_used
        Records among them that runs in progress rely on.
    skipped
        Entries that were left alone, with the reason.
    """

    removed: dict[str, Space] = field(default_factory=dict)
    n_kept: int = 0
    n_used: int = 0
    skipped: list[str] = field(default_factory=list)

    def add(self, kind: str, n_bytes: int) -> None:
        """Count one more entry of a kind."""
        space = self.removed.setdefault(kind, Space(kind))
        space.number += 1
        space.n_bytes += n_bytes


def prune(store: Store, manifests: Iterable[Mapping[str, Any]], older_s: float | None, *, dry_run: bool) -> Pruned:
    """Remove records and unfinished work that are not needed.

    A record is needed if a kept run names it, if a run in progress relies on it, if a job works on it, if it is young,
    or if a needed record or job reads it.

    Parameters
    ----------
    store
        The store. Its caches are removed too, unless a run is in progress.
    manifests
        Manifests of the runs to keep.
    older_s
        Age in seconds; records that ended more recently are young. None: no record is young.
    dry_run
        Only report what would be removed.
    """
    pruned, condemned = Pruned(), list[tuple[str, Path]]()
    since = None if older_s is None else time.time() - older_s
    with nobody_else_removes(store):
        folders, work = _record_folders(store, pruned), list(unfinished(store))
        used = keys_in_use(store) | _keys_at_work(store)
        young = {key for key, path in folders.items() if since is not None and ended(path) > since}
        named = {key for manifest in manifests for key in manifest["records"]}
        needed = _with_inputs(store, folders, used | young | named)
        pruned.n_kept, pruned.n_used = len(folders.keys() & needed), len(folders.keys() & used)
        for key, path in folders.items():
            if key not in needed:
                _condemn(store, path.parent.name, key, path, condemned, pruned, dry_run=dry_run)
        for key, path in work:
            half_removed = ".old-" in path.name
            if half_removed or (key not in needed and (since is None or _newest(path) <= since)):
                _condemn(store, "unfinished", key, path, condemned, pruned, dry_run=dry_run)
    if used:
        pruned.skipped += [f"{name}: a run is in progress" for name in CACHES if any(entries(store.root / name))]
    else:
        caches = [path for name in CACHES for path in entries(store.root / name)]
        condemned += [("caches", path) for path in caches if since is None or _newest(path) <= since]
    measure = Measure()
    for kind, path in condemned:
        pruned.add(kind, measure.size(path))
        if not dry_run:
            with contextlib.suppress(OSError):  # the next call removes it
                remove_tree(path)
    return pruned


def _record_folders(store: Store, pruned: Pruned) -> dict[str, Path]:
    """Return the folder of every record by key, skipping links, which lead out of the store."""
    folders: dict[str, Path] = {}
    for stage in STAGES:
        folder = store.root / stage
        if folder.is_symlink():
            pruned.skipped.append(f"{stage}: is a link")
        for path in entries(folder):
            if path.is_symlink():
                pruned.skipped.append(f"{stage}/{path.name}: is a link")
            elif OF_A_JOB.fullmatch(path.name) and path.is_dir():
                folders[path.name] = path
    return folders


def _keys_at_work(store: Store) -> set[str]:
    """Return the keys of jobs that somebody is at: also of a run that was killed, while its worker lives."""
    busy = set()
    for path in entries(store.root / "work"):
        match = OF_A_JOB.fullmatch(path.name)
        if match and path.suffix == ".lock":
            lock = take_lease(path)
            if lock is None:
                busy.add(match[1])
            else:
                lock.release()
    return busy


def _with_inputs(store: Store, folders: Mapping[str, Path], keys: Iterable[str]) -> set[str]:
    """Return keys together with those of all records that their jobs read, directly or indirectly."""
    needed, todo = set[str](), list(keys)
    while todo:
        key = todo.pop()
        if key not in needed:
            needed.add(key)
            todo += [each for folder in (folders.get(key), store.work(key)) if folder for each in _inputs(folder)]
    return needed


def _inputs(folder: Path) -> set[str]:
    """Return the keys of the records that a folder's job reads; none if its file cannot be read."""
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
    except (OSError, ValueError, KeyError, TypeError):  # damaged, or without a time
        return _newest(record)


def _newest(path: Path) -> float:
    """Return when a file or an entry of a folder was last changed; the present time if it has disappeared."""
    try:
        return max(each.lstat().st_mtime for each in [path, *entries(path)])
    except OSError:
        return time.time()


def _condemn(
    store: Store, kind: str, key: str, path: Path, condemned: list[tuple[str, Path]], pruned: Pruned, *, dry_run: bool
) -> None:
    """Rename a job's folder under its lock and add it to those to remove; skip it if it is in use."""
    lock = store.lease(key)
    if lock is None:
        pruned.skipped.append(f"{kind}/{path.name}: a job is running")
        return
    try:
        out_of_sight = path
        if not dry_run and ".old-" not in path.name:
            out_of_sight = store.root / "work" / f"{path.name}.old-{os.getpid()}"
            unlock_folder(str(path))  # a read-only folder cannot be moved
            path.rename(out_of_sight)
        condemned.append((kind, out_of_sight))
    except OSError as error:
        pruned.skipped.append(f"{kind}/{path.name}: {error.strerror}")
    finally:
        lock.release()
