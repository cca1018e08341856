"""A record of the store, and the failed records of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pertharness.contract.jobs import Job, Status
from pertharness.host.run.session import BAD
from pertharness.host.store.records import JOB, LOG, Store, read_job


@dataclass(frozen=True)
class Record:
    """What a job left in the store.

    Attributes
    ----------
    key, stage
        Its name and its folder's.
    job
        What was asked.
    status
        How it ended: state, message, cost, notes; None if the record is damaged.
    """

    key: str
    stage: str
    folder: Path
    job: Job
    status: Status | None

    @property
    def files(self) -> dict[str, Path]:
        """Name -> path of the files that the job left."""
        names = (JOB, LOG, *(self.status.artefacts if self.status else ()))
        return {name: self.folder / name for name in names if (self.folder / name).exists()}

    @property
    def log(self) -> str:
        """What the job printed."""
        path = self.folder / LOG
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def __repr__(self) -> str:
        state = self.status.state if self.status else "damaged"
        return f"Record({self.stage} {self.key[:12]}: {state}, {str(self.folder)!r})"


@dataclass(frozen=True)
class Failure:
    """A job that failed, or a model that could not be tried; `key` is that of its record, if there is one."""

    title: str
    state: str
    message: str
    key: str = ""


def find_record(store: Store, key: str) -> Record:
    """Return the record whose key starts with `key`.

    Raises
    ------
    StoreError
        If there is none, there are several, or its job cannot be read.
    """
    stage, full = store.find(key)
    folder = store.record(stage, full)
    return Record(full, stage, folder, read_job(folder), store.status(stage, full))


def failures_of(manifest: Mapping[str, Any]) -> tuple[Failure, ...]:
    """Return the failures of a run, jobs first."""
    records = [
        Failure(record.get("title", key), record["state"], record["message"], key)
        for key, record in manifest["records"].items()
        if record["state"] in BAD
    ]
    attempts = [
        Failure(f"{attempt['model']} on {attempt['dataset']} {attempt['task']}", attempt["state"], attempt["reason"])
        for attempt in manifest["attempts"]
        if attempt["reason"] and attempt["state"] in BAD
    ]
    return tuple(dict.fromkeys([*records, *attempts]))
