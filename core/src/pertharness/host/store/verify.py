"""Verify runs and stores: hash their files again, and report those that differ from their records."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from pertharness.contract.errors import StoreError
from pertharness.contract.jobs import Job, Stage, State, Status, describe_invalid
from pertharness.host.store.keys import key_of
from pertharness.host.store.records import STAGES, STATUS, Store, read_job
from pertharness.host.store.sums import describe_change, files_of_run, sum_of_artefacts

_KEY = re.compile(r"[0-9a-f]{64}")
_PIECE = 1 << 20


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes
    ----------
    differs
        Whether something differs from its record; if False, it could not be compared.
    """

    text: str
    differs: bool = True


@dataclass
class Verifier:
    """Verifies records and runs; reads every file once, a piece at a time.

    Parameters
    ----------
    store
        Store of the records.
    progress
        Called with the number of bytes after each piece, and with 0 after each record.
    """

    store: Store
    progress: Callable[[int], None] = lambda _: None
    n_records: int = 0
    n_files: int = 0
    n_bytes: int = 0
    _outside: dict[Path, str | None] = field(default_factory=dict)
    """sha256 of files outside the store; None if a file cannot be read."""

    def records(self) -> list[tuple[Stage, str]]:
        """Return stage and key of all records of the store."""
        folders = [(stage, self.store.root / stage) for stage in STAGES if (self.store.root / stage).is_dir()]
        return [(stage, path.name) for stage, folder in folders for path in sorted(folder.iterdir()) if path.is_dir()]

    def verify_store(self) -> Iterator[Finding]:
        """Yield the findings on all records of the store."""
        for stage, key in self.records():
            yield from self.verify_record(stage, key)

    def verify_run(self, folder: Path, manifest: dict[str, Any]) -> Iterator[Finding]:
        """Yield the findings on a run: on its own files, then on the records that it was joined from."""
        yield from self._verify_files(folder, manifest.get("files"))
        for key, record in manifest["records"].items():
            stage, state = record["stage"], record["state"]
            if stage not in STAGES or state not in get_args(State) or not _KEY.fullmatch(key):
                yield Finding(f"{folder / 'manifest.json'}: names {stage!r}, {key!r}, {state!r}; this is not a record")
                continue
            if not self.store.record(stage, key).is_dir():
                if state == "done":
                    yield Finding(f"{stage}/{key}: is missing from the store, but the run used it")
                continue
            yield from self._verify_of_run(stage, key, record)

    def _verify_of_run(self, stage: Stage, key: str, record: dict[str, Any]) -> Iterator[Finding]:
        """Yield the findings on a record of a run, and whether it has been replaced since the run."""
        where, damaged = f"{stage}/{key}", False
        for finding in self.verify_record(stage, key):
            damaged = damaged or finding.differs
            yield finding
        status = self._status(stage, key)
        expected = record.get("artefacts", "") if record["state"] == "done" else ""
        if expected and isinstance(status, Status) and sum_of_artefacts(status) != expected:
            yield Finding(f"{where}: is not the record that the run used; it was made later")
        elif not damaged and (names := _changed(self.store.record(stage, key), record)):
            yield Finding(f"{where}: its {names} changed after the run: edited, or from a record made later")

    def verify_record(self, stage: Stage, key: str) -> Iterator[Finding]:
        """Yield the findings on one record; none if it is removed meanwhile."""
        self.n_records += 1
        folder = self.store.record(stage, key)
        before = _bytes(folder / STATUS)
        problems = list(self._verify_record(stage, key))
        after = _bytes(folder / STATUS)
        if problems and before != after:  # another run replaced the record
            problems = list(self._verify_record(stage, key)) if after is not None else []
        self.progress(0)
        yield from problems

    def _verify_record(self, stage: Stage, key: str) -> Iterator[Finding]:
        where, folder = f"{stage}/{key}", self.store.record(stage, key)
        status = self._status(stage, key)
        if not isinstance(status, Status):
            yield Finding(f"{where}/{STATUS}: {status}")
            return
        if status.key != key:
            yield Finding(f"{where}/{STATUS}: belongs to the key {status.key!r}")
        for name, artefact in status.artefacts.items():
            if problem := self._compare(folder / name, artefact.sha256, artefact.size):
                yield Finding(f"{where}/{name}: {problem}")
        try:
            job = read_job(folder)
        except StoreError as error:
            yield Finding(f"{where}: {error}")
            return
        yield from _verify_key(job, stage, key)
        yield from self._verify_inputs(where, job, status)

    def _verify_inputs(self, where: str, job: Job, status: Status) -> Iterator[Finding]:
        """Yield findings on inputs whose checksums differ from those of their records or files."""
        for role, path in job.inputs_by_role().items():
            read = status.inputs.get(role, "")
            origin = record_of(path)
            if origin is None:
                yield from self._verify_source(where, role, path, read, job)
                continue
            origin_status = self._status(*origin)
            if not isinstance(origin_status, Status):
                yield Finding(f"{where}: read {role} from {'/'.join(origin)}, which no longer exists", differs=False)
                continue
            artefact = origin_status.artefacts.get(path.name)
            if read and (artefact is None or artefact.sha256 != read):
                has = artefact.sha256[:12] if artefact else "none"
                yield Finding(
                    f"{where}: read a different {role}: its sha256 was {read[:12]}, that of "
                    f"{'/'.join(origin)}/{path.name} is {has}"
                )

    def _verify_source(self, where: str, role: str, path: Path, read: str, job: Job) -> Iterator[Finding]:
        """Yield findings on an input from outside the store: a dataset's source, weights, a file of predictions."""
        keyed = job.key_parts.inputs.get(role, "") if job.key_parts else ""
        if not _KEY.fullmatch(keyed):  # the file was absent
            keyed = ""
        if read and keyed and read != keyed:
            yield Finding(f"{where}: read a different {role} than its key names: {read[:12]} instead of {keyed[:12]}")
        expected = read or keyed
        if not expected:
            return
        if path not in self._outside:
            self._outside[path] = self._sha256(path) if path.exists() else None
        now = self._outside[path]
        if now is None:
            yield Finding(f"{where}: its {role} {str(path)!r} no longer exists", differs=False)
        elif now != expected:
            yield Finding(f"{where}: its {role} {str(path)!r} has changed: it was {expected[:12]} and is {now[:12]}")

    def _verify_files(self, folder: Path, files: dict[str, str] | None) -> Iterator[Finding]:
        """Yield findings on files of a run's folder that differ from its manifest."""
        if files is None:
            why = "an older version wrote it, or the run was stopped before it had written all of them"
            yield Finding(f"{folder / 'manifest.json'}: has no checksums of the run's files: {why}", differs=False)
            return
        for name, sha256 in files.items():
            if problem := self._compare(folder / name, sha256):
                yield Finding(f"{folder / name}: {problem}")
        for name in files_of_run(folder):
            if name not in files:
                yield Finding(f"{folder / name}: was added after the run was written")

    def _compare(self, path: Path, sha256: str, size: int | None = None) -> str:
        """Return the problem of a file; empty if it is unchanged."""
        if path.is_symlink():
            return "is a link, not the file that was written"
        if not path.is_file():
            return "is missing"
        if size is not None and path.stat().st_size != size:
            return f"has {path.stat().st_size} bytes; {size} were written"
        now = self._sha256(path)
        if now is None:
            return "cannot be read"
        return "" if now == sha256 else f"has changed: its sha256 was {sha256[:12]}... and is {now[:12]}..."

    def _sha256(self, path: Path) -> str | None:
        """Return the sha256 of a file; None if it cannot be read."""
        digest = hashlib.sha256()
        try:
            with path.open("rb") as file:
                while piece := file.read(_PIECE):
                    digest.update(piece)
                    self.n_bytes += len(piece)
                    self.progress(len(piece))
        except OSError:
            return None
        self.n_files += 1
        return digest.hexdigest()

    def _status(self, stage: Stage, key: str) -> Status | str:
        """Return the status of a record, or its problem; its artefacts are not checked."""
        try:
            return Status.model_validate_json((self.store.record(stage, key) / STATUS).read_bytes())
        except ValidationError as error:
            return f"is damaged: {describe_invalid(error)}"
        except OSError as error:
            return f"cannot be read: {error.strerror}"


def record_of(path: Path) -> tuple[Stage, str] | None:
    """Return stage and key of a file's record, from the end of its path, because the store may have moved."""
    stage, key = path.parent.parent.name, path.parent.name
    known_stage = next((name for name in STAGES if name == stage), None)
    return (known_stage, key) if known_stage is not None and _KEY.fullmatch(key) else None


def _verify_key(job: Job, stage: Stage, key: str) -> Iterator[Finding]:
    """Yield findings on a job whose file does not match its key; jobs of older versions lack the parts of the key."""
    where = f"{stage}/{key}/job.json"
    if (job.stage, job.key) != (stage, key):
        yield Finding(f"{where}: belongs to {job.stage}/{job.key}")
    elif job.key_parts is not None:
        if key_of(job) != key:
            yield Finding(f"{where}: has changed: its content has another key, {key_of(job)[:12]}...")
        input_keys = set(job.key_parts.inputs.values())
        for role, path in job.inputs_by_role().items():
            origin = record_of(path)
            if origin is not None and origin[1] not in input_keys:
                yield Finding(
                    f"{where}: has changed: its {role} is from {'/'.join(origin)}, which is not part of its key"
                )


def _changed(folder: Path, record: dict[str, Any]) -> str:
    try:
        return describe_change(folder, record)
    except OSError as error:
        return f"{Path(error.filename).name} ({error.strerror})"


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
