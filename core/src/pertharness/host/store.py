"""The store: records by stage and key, and the folders of unfinished work."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from pertharness.errors import StoreError
from pertharness.files import sha256_file
from pertharness.host.lock import Lock, try_lock
from pertharness.host.store_marker import MARKER, keep_marker
from pertharness.jobs import FORMAT, Artefact, Job, Stage, Status, describe_invalid

STATUS = "status.json"
JOB = "job.json"
LOG = "log.txt"
SCRATCH = "scratch"
HASHED_BYTES = 4_000_000
"""Artefacts up to this size, all tables and most predictions among them, are hashed whenever a run looks at them."""
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True)
class Store:
    """A folder of records; see the layout in ``docs/store.md``."""

    root: Path

    @classmethod
    def open(cls, path: Path | None = None) -> Store:
        """Give the store at `path`, else at ``PERTHARNESS_STORE``, else in the user's data folder; make it if absent.

        Raises
        ------
        StoreError
            If the folder cannot be made or written, was made by a version with another format, or nobody can say which.
        """
        root = (path or default_path()).expanduser().absolute()
        try:
            (root / "work").mkdir(parents=True, exist_ok=True)
            keep_marker(root, STAGES, FORMAT)
            found = json.loads((root / MARKER).read_bytes())["format"]
        except OSError as error:
            raise StoreError(
                f"the store {str(root)!r} cannot be used: {error.strerror}; name another with --store"
            ) from None
        if found != FORMAT:
            raise StoreError(
                f"the store {str(root)!r} has format {found!r}, this version reads {FORMAT}; name another with --store"
            )
        return cls(root)

    def record(self, stage: Stage, key: str) -> Path:
        """Give the folder of a record, whether it is there or not."""
        return self.root / stage / key

    def work(self, key: str) -> Path:
        """Give the folder in which a job works until it is finished."""
        return self.root / "work" / key

    def status(self, stage: Stage, key: str) -> Status | None:
        """Give the status of a record; None where there is none, or where it is damaged and has to be made again."""
        return read_status(self.record(stage, key), key)

    def lock(self, key: str) -> Lock | None:
        """Give the lock on a job's work, or None where another process is at it."""
        return try_lock(self.root / "work" / f"{key}.lock")

    def commit(self, stage: Stage, key: str) -> None:
        """Move finished work into place; the lock must be held. What a damaged record left there goes away."""
        target = self.record(stage, key)
        target.parent.mkdir(exist_ok=True)
        shutil.rmtree(self.work(key) / SCRATCH, ignore_errors=True)
        if target.exists():
            old = self.root / "work" / f"{key}.old-{os.getpid()}"
            target.rename(old)
            shutil.rmtree(old, ignore_errors=True)
        self.work(key).rename(target)

    def find(self, key: str) -> tuple[Stage, str]:
        """Give stage and full key of the one record whose key starts with `key`.

        Raises
        ------
        StoreError
            If there is none, or more than one.
        """
        folders = [(stage, self.root / stage) for stage in STAGES if (self.root / stage).is_dir()]
        names = [(stage, path.name) for stage, folder in folders for path in folder.iterdir()]
        found = [(stage, name) for stage, name in names if name.startswith(key)]
        if len(found) != 1:
            many = f"{len(found)} records have a key that starts with {key!r}; give more of it"
            none = f"no record has a key that starts with {key!r}; a run's manifest.json names its keys and its store"
            raise StoreError(f"store {str(self.root)!r}: {many if found else none}")
        return found[0]


def default_path() -> Path:
    """Give the store's place where the user names none."""
    import platformdirs

    named = os.environ.get("PERTHARNESS_STORE")
    return Path(named) if named else Path(platformdirs.user_data_dir("pertharness")) / "store"


def read_status(folder: Path, key: str) -> Status | None:
    """Give the status in a folder, or None where it is missing or unreadable, or a file that it names is not whole."""
    try:
        status = Status.model_validate_json((folder / STATUS).read_bytes())
        whole = all(_is_whole(folder / name, artefact) for name, artefact in status.artefacts.items())
    except (OSError, ValidationError):
        return None
    return status if whole and status.format == FORMAT and status.key == key else None


def _is_whole(path: Path, artefact: Artefact) -> bool:
    """Say whether a file is the one that its job left: by size, and where that costs next to nothing by content."""
    if path.stat().st_size != artefact.size:
        return False
    return artefact.size > HASHED_BYTES or sha256_file(path) == artefact.sha256


def read_job(folder: Path) -> Job:
    """Give the job of a record.

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
