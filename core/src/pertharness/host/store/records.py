"""The store: records by stage and key, and the folders of unfinished jobs."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from pertharness.contract.errors import StoreError
from pertharness.contract.jobs import FORMAT, SCRATCH, Artefact, Job, Stage, Status, describe_invalid
from pertharness.files.trees import remove_tree, unlock_folder
from pertharness.files.whole import sha256_file
from pertharness.host.store.hashes import Sums, identity_of
from pertharness.host.store.leases import Lease, take_lease
from pertharness.host.store.marker import MARKER, keep_marker, read_secret

STORE_FORMAT = 2
"""In stores of format 1, keys included hashes of the harness's sources."""
STATUS = "status.json"
JOB = "job.json"
LOG = "log.txt"
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True)
class Store:
    """A folder of records; ``docs/store.md`` describes its layout."""

    root: Path

    @classmethod
    def open(cls, path: Path | None = None) -> Store:
        """Open the store at `path`, else at ``PERTHARNESS_STORE``, else in the user's data folder; make it if absent.

        Raises
        ------
        StoreError
            If the folder cannot be made or written, or if the store has another or an unknown format.
        """
        root = (path or default_path()).expanduser().absolute()
        try:
            (root / "work").mkdir(parents=True, exist_ok=True)
            keep_marker(root, STAGES, STORE_FORMAT)
            store_format = _read_format(root)
        except OSError as error:
            raise StoreError(
                f"the store {str(root)!r} cannot be used: {error.strerror}; name another with --store"
            ) from None
        if store_format != STORE_FORMAT:
            raise StoreError(_describe_format(root, store_format))
        return cls(root)

    @classmethod
    def existing(cls, path: Path | None = None) -> Store:
        """Open an existing store at `path`, or the default one, for reading, also one of an older version.

        Raises
        ------
        StoreError
            If there is no store, or a newer version made it.
        """
        root = (path or default_path()).expanduser().absolute()
        try:
            store_format = _read_format(root)
        except OSError as error:
            raise StoreError(
                f"no store at {str(root)!r} ({MARKER}: {error.strerror}); name another with --store"
            ) from None
        if store_format > STORE_FORMAT:
            raise StoreError(_describe_format(root, store_format))
        return cls(root)

    @functools.cached_property
    def sums(self) -> Sums:
        """Cached checksums of files whose identity has changed, e.g. after the store was copied."""
        return Sums(self.root)

    def record(self, stage: Stage, key: str) -> Path:
        """Return the folder of a record, which may not exist."""
        return self.root / stage / key

    def work(self, key: str) -> Path:
        """Return the folder in which a job works until it is finished.

        The name cannot be derived from the key without reading the store. Otherwise a job could leave a socket in its
        folder for another job that runs at the same time.
        """
        secret = read_secret(self.root)
        return self.root / "work" / f"{key}.{hmac.new(secret, key.encode(), hashlib.sha256).hexdigest()[:32]}"

    def status(self, stage: Stage, key: str) -> Status | None:
        """Return the status of a record; None if it is missing, or damaged so that it must be made again."""
        return read_status(self.record(stage, key), key, self.sums)

    def lease(self, key: str) -> Lease | None:
        """Return the lease of a job; None if another process holds it."""
        return take_lease(self.root / "work" / f"{key}.lock")

    def commit(self, stage: Stage, key: str) -> None:
        """Move finished work into place, replacing a damaged record; the lock must be held."""
        target = self.record(stage, key)
        target.parent.mkdir(exist_ok=True)
        with contextlib.suppress(OSError):  # then it stays with the record
            remove_tree(self.work(key) / SCRATCH)
        if target.exists():
            unlock_folder(str(target))  # a read-only folder cannot be moved
            old = self.root / "work" / f"{key}.old-{os.getpid()}"
            target.rename(old)
            with contextlib.suppress(OSError):  # then the next prune removes it
                remove_tree(old)
        self.work(key).rename(target)

    def find(self, key: str) -> tuple[Stage, str]:
        """Return stage and full key of the one record whose key starts with `key`.

        Raises
        ------
        StoreError
            If no record or more than one matches.
        """
        folders = [(stage, self.root / stage) for stage in STAGES if (self.root / stage).is_dir()]
        names = [(stage, path.name) for stage, folder in folders for path in folder.iterdir()]
        matches = [(stage, name) for stage, name in names if name.startswith(key)]
        if len(matches) != 1:
            many = f"{len(matches)} records have a key that starts with {key!r}; use a longer prefix"
            none = f"no record has a key that starts with {key!r}; a run's manifest.json names its keys and its store"
            raise StoreError(f"store {str(self.root)!r}: {many if matches else none}")
        return matches[0]


def _read_format(root: Path) -> int:
    """Return the format of a store."""
    text = (root / MARKER).read_text(encoding="utf-8", errors="replace")
    try:
        return int(json.loads(text)["format"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise StoreError(
            f'{str(root / MARKER)!r} is damaged: it holds {text[:40]!r}, expected {{"format": {STORE_FORMAT}}}; delete '
            "this file, and the store is taken for one of this version, or name another store with --store"
        ) from None


def _describe_format(root: Path, store_format: int) -> str:
    """Return the message for a store of another format: why it cannot be used, and what to do."""
    made = f"the store {str(root)!r} was made by"
    if store_format > STORE_FORMAT:
        return (
            f"{made} a newer version of pertharness (format {store_format}, this version reads {STORE_FORMAT}); "
            "update it"
        )
    return (
        f"{made} an older version of pertharness (format {store_format}, this version writes {STORE_FORMAT}): its "
        "records would not be found, because keys are computed differently. Name another store with --store or "
        "PERTHARNESS_STORE, or delete this one; until then its runs can be read (export, show, verify)"
    )


def default_path() -> Path:
    """Return the default path of the store."""
    import platformdirs

    named = os.environ.get("PERTHARNESS_STORE")
    return Path(named) if named else Path(platformdirs.user_data_dir("pertharness")) / "store"


def read_status(folder: Path, key: str, sums: Sums | None = None) -> Status | None:
    """Return the status in a folder; None if it is missing or unreadable, or if one of its files has changed.

    `sums` caches checksums of files that had to be read.
    """
    try:
        status = Status.model_validate_json((folder / STATUS).read_bytes())
        whole = all(_is_whole(folder / name, artefact, sums) for name, artefact in status.artefacts.items())
    except (OSError, ValidationError):
        return None
    return status if whole and status.format == FORMAT and status.key == key else None


def _is_whole(path: Path, artefact: Artefact, sums: Sums | None) -> bool:
    """Return whether a file is unchanged since its job wrote it; it is read only if its identity has changed."""
    facts = path.stat()
    if facts.st_size != artefact.size:
        return False
    if artefact.identity == identity_of(facts):
        return True
    return (sums.of(path) if sums is not None else sha256_file(path)) == artefact.sha256


def read_job(folder: Path) -> Job:
    """Return the job of a record.

    Raises
    ------
    StoreError
        If its file is missing or damaged.
    """
    try:
        return Job.model_validate_json((folder / JOB).read_bytes())
    except (OSError, ValidationError) as error:
        why = describe_invalid(error) if isinstance(error, ValidationError) else error.strerror
        raise StoreError(f"{str(folder / JOB)!r} cannot be read: {why}") from None
