"""From what a job's processes left to its status: made of files alone, once all of the processes are gone."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import socket
import stat
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from pydantic import ValidationError

from pertharness.errors import ContractError, StoreError
from pertharness.files import replacing, sha256_file, write_text
from pertharness.host.execution.batch import Launch
from pertharness.host.execution.caches import keep_caches
from pertharness.host.execution.last_checks import inspect_artefacts
from pertharness.host.hashes import identity_of
from pertharness.jobs import (
    CLAIM,
    LOG,
    OUT,
    SCRATCH,
    Artefact,
    Claim,
    Cost,
    Isolation,
    Stage,
    State,
    Status,
)  # fmt: skip
from pertharness.worker.main import LOG_TAIL, tail

JOB, STATUS = "job.json", "status.json"
LARGEST_CLAIM = 64_000_000
"""Bytes of a claim that are read."""
ARTEFACTS: dict[Stage, str] = {
    "cards": r"card\.json", "datasets": r"dataset\.h5ad|pseudobulk\.h5ad|perturbations\.csv|facts\.json",
    "splits": r"(split\.json|(train|val)\.h5ad)", "halves": r"halves\.h5ad", "embeddings": r"embedding\.h5ad",
    "predictions": r"prediction\.h5ad", "scores": r"[A-Za-z0-9_-]+\.csv", "checks": r"(?!)",
}  # fmt: skip
"""Names of the files that a job of each stage may leave."""
NEEDED: dict[Stage, tuple[str, ...]] = {
    "cards": ("card.json",), "datasets": ("dataset.h5ad", "pseudobulk.h5ad", "perturbations.csv", "facts.json"),
    "splits": ("split.json",), "halves": ("halves.h5ad",), "embeddings": ("embedding.h5ad",),
    "predictions": ("prediction.h5ad",), "scores": ("scores.csv",), "checks": (),
}  # fmt: skip


@dataclass(frozen=True)
class End:
    """How the processes of a job ended, seen from outside.

    Attributes
    ----------
    state, type, message
        Of a job that was ended, or that ended without a claim; an empty state where the claim is to be believed.
    """

    cost: Cost
    started: str
    state: State | None = None
    type: str = ""
    message: str = ""
    output: str = ""
    """What a worker printed outside of any job."""


def settle(launch: Launch, end: End, isolation: Isolation, sums: dict[str, str], *, others_live: bool) -> Status:
    """Move what a job left into its place, check and hash it, and return the job's status.

    Parameters
    ----------
    launch
        The job; its folder holds `OUT`.
    end
        How its processes ended.
    isolation, sums
        What enters the status.
    others_live
        Whether a process is left that might still hold one of the files open: they are copied then.

    Raises
    ------
    OSError
        If the disk is full.
    """
    out = launch.folder / OUT
    _take_log(out / LOG, launch.folder / LOG)
    claim = _read_claim(out / CLAIM) if end.state is None else None
    fields: dict[str, object]
    artefacts: dict[str, Artefact] = {}
    if claim is None:
        fields = {"state": end.state or "crashed", "type": end.type or "NoClaim", "message": end.message}
    else:
        fields = claim.model_dump(include={"state", "type", "message", "traceback", "notes", "unanswered"})
        fields["phases"] = claim.phases
        if claim.state == "done":
            try:
                artefacts = _take_artefacts(launch, claim, copy=others_live)
                inspect_artefacts(launch, claim)
                caches, notes = _take_caches(launch)
                artefacts |= caches
                fields["notes"] = [*claim.notes, *notes]
            except (ContractError, StoreError) as error:
                fields |= {"state": "invalid", "type": type(error).__name__, "message": str(error)}
                artefacts = {}
    log = "" if fields["state"] == "done" else tail(launch.folder / LOG) + end.output[-LOG_TAIL:]
    status = Status(
        key=launch.job.key, **fields, log_tail=log, cost=end.cost, isolation=isolation, inputs=sums,
        artefacts=artefacts, device=launch.job.device, started=end.started, finished=_now(), host=socket.gethostname(),
    )  # fmt: skip
    return status


def write_status(launch: Launch, status: Status) -> None:
    """Write job and status, whole or not at all, and let nobody change by accident what the folder holds."""
    folder = launch.folder
    for path in list(folder.iterdir()):
        if path.name not in (JOB, LOG, SCRATCH, *status.artefacts):
            _remove(path)
    write_text(folder / JOB, launch.job.model_dump_json(indent=1), synced=False)
    for name in (JOB, LOG):  # not artefacts: these are so already, and another chmod would change their identity
        (folder / name).chmod(0o444)
    with replacing(folder / STATUS, mode=0o444, synced=False) as temporary:
        temporary.write_text(status.model_dump_json(indent=1), encoding="utf-8")


def _read_claim(path: Path) -> Claim | None:
    """Return what the worker says of its job; None where it says nothing that can be understood."""
    try:
        descriptor = _open_plain(path)
    except (OSError, StoreError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        text = file.read(LARGEST_CLAIM)
    with contextlib.suppress(ValidationError):
        return Claim.model_validate_json(text)
    return None


def _take_artefacts(launch: Launch, claim: Claim, *, copy: bool) -> dict[str, Artefact]:
    stage = launch.job.stage
    names = list(dict.fromkeys(claim.artefacts))
    odd = [name for name in names if not re.fullmatch(ARTEFACTS[stage], name)]
    missing = [name for name in NEEDED[stage] if name not in names]
    if odd or missing:
        what = f"an artefact {odd[0]!r}" if odd else f"no artefact {missing[0]!r}"
        raise ContractError(f"a job of the stage {stage!r} left {what}; this is a bug in pertharness")
    return {name: _take(launch.folder / OUT / name, launch.folder / name, copy=copy) for name in names}


def _take_caches(launch: Launch) -> tuple[dict[str, Artefact], list[str]]:
    """Return the compile caches that a job without data left, as an artefact, and what is to be noted of them."""
    if launch.job.stage != "cards":
        return {}, []
    path, note = keep_caches(launch.folder)
    return ({} if path is None else {path.name: _artefact(path, sha256_file(path))}), ([note] if note else [])


def _take(source: Path, target: Path, *, copy: bool) -> Artefact:
    """Move or copy one file into place, and return its size, sum and identity."""
    try:
        descriptor = _open_plain(source)
    except FileNotFoundError:
        raise StoreError(f"the artefact {source.name!r} is not there") from None
    _remove(target)  # put there by a plugin that was not sandboxed
    digest = hashlib.sha256()
    with os.fdopen(descriptor, "rb") as file, contextlib.ExitStack() as stack:
        if copy:
            copied = stack.enter_context(target.open("xb"))
        while piece := file.read(1 << 20):
            digest.update(piece)
            if copy:
                copied.write(piece)
    if not copy:
        source.replace(target)
    return _artefact(target, digest.hexdigest())


def _artefact(path: Path, sha256: str) -> Artefact:
    path.chmod(0o444)
    facts = path.stat()
    return Artefact(size=facts.st_size, sha256=sha256, identity=identity_of(facts))


def _open_plain(path: Path) -> int:
    """Open a file that is one, with one name only: no link that leads elsewhere, no pipe that never ends.

    Raises
    ------
    StoreError
        If it is anything else.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{path.name!r} cannot be read: {error.strerror}") from None
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
        os.close(descriptor)
        raise StoreError(f"{path.name!r} is no plain file with one name")
    return descriptor


def _take_log(source: Path, target: Path) -> None:
    """Copy the log, as the job's processes left it, beside what else stays."""
    try:
        descriptor = _open_plain(source)
    except (OSError, StoreError):  # removed, or replaced, by the plugin
        target.touch()
        return
    with os.fdopen(descriptor, "rb") as file, target.open("wb") as copied:
        while piece := file.read(1 << 20):
            copied.write(piece)


def _remove(path: Path) -> None:
    """Remove a folder, whatever permissions a plugin left there."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
        return
    shutil.rmtree(path, ignore_errors=True)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
