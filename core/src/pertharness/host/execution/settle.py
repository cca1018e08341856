"""Make the status of a job from the files that it left, after all of its processes have ended."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import stat
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pertharness.contract.errors import ContractError, StoreError
from pertharness.contract.jobs import CLAIM, LOG, OUT, SCRATCH, Artefact, Claim, Cost, Isolation, State, Status
from pertharness.contract.stages import ARTEFACTS
from pertharness.contract.texts import MESSAGE_LIMIT, shorten, storable
from pertharness.files.full_disk import FULL
from pertharness.files.trees import remove_tree
from pertharness.files.whole import replacing, sha256_file, write_text
from pertharness.host.execution.batch import Launch
from pertharness.host.execution.caches import keep_caches
from pertharness.host.execution.claims import log_tail, read_claim, take_log
from pertharness.host.execution.inspection import inspect_apart
from pertharness.host.execution.plain_files import check_size, open_plain, unlock_job
from pertharness.host.store.hashes import identity_of
from pertharness.worker.job_run import LOG_TAIL

JOB, STATUS = "job.json", "status.json"


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
    """Log of what a worker printed outside of any job."""


def settle(launch: Launch, end: End, isolation: Isolation, sums: dict[str, str], *, others_live: bool) -> Status:
    """Move a job's results into place, check and hash them, and return the job's status.

    Whatever a job left, there is a status that says so.

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
    artefacts: dict[str, Artefact] = {}
    try:
        unlock_job(launch)
        take_log(launch)
        fields, artefacts = _judge(launch, end, copy=others_live)
    except (OSError, RecursionError) as error:
        # Only by its number: the text of an error about a file may contain what the job wrote there.
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        message = (
            f"the job's results cannot be read: {error}; check what the plugin does to the files in the job's folders"
        )
        fields = {"state": "crashed", "type": type(error).__name__, "message": message}
    log = "" if fields["state"] == "done" else log_tail(launch) + end.output[-LOG_TAIL:]
    fields["message"] = shorten(storable(str(fields.get("message", ""))), MESSAGE_LIMIT)
    return Status(
        key=launch.job.key, **fields, log_tail=log, cost=end.cost, isolation=isolation, inputs=sums,
        artefacts=artefacts, device=launch.job.device, started=end.started, finished=_now(), host=socket.gethostname(),
    )  # fmt: skip


def _judge(launch: Launch, end: End, *, copy: bool) -> tuple[dict[str, Any], dict[str, Artefact]]:
    """Return state, message and artefacts of a job, from how it ended and what it left."""
    claim = read_claim(launch.folder / OUT / CLAIM) if end.state is None else None
    if claim is None and end.state is None:
        message = f"the worker left no readable result: expected the plain file {CLAIM!r} in its folder {OUT!r}"
        return {"state": "crashed", "type": "NoClaim", "message": message}, {}
    if claim is None:
        return {"state": end.state, "type": end.type, "message": end.message}, {}
    fields = claim.model_dump(include={"state", "type", "message", "traceback", "notes"})
    fields["phases"] = claim.phases
    if claim.state != "done":
        return fields, {}
    try:
        artefacts = _take_artefacts(launch, claim, copy=copy)
        inspect_apart(launch, claim)
        caches, notes = _take_caches(launch)
    except (ContractError, StoreError) as error:
        return fields | {"state": "invalid", "type": type(error).__name__, "message": str(error)}, {}
    return fields | {"notes": [*claim.notes, *notes], "unanswered": claim.unanswered}, artefacts | caches


def write_status(launch: Launch, status: Status) -> None:
    """Write job and status atomically, and make the files of the folder read-only."""
    folder = launch.folder
    for path in list(folder.iterdir()):
        record_files = (SCRATCH, *status.artefacts, *((JOB, LOG) if _is_file(path) else ()))
        if path.name not in record_files:
            with contextlib.suppress(OSError):  # files that cannot be removed are not part of the record
                remove_tree(path)
    write_text(folder / JOB, launch.job.model_dump_json(indent=1), synced=False)
    (folder / LOG).touch()
    for name in (
        JOB,
        LOG,
    ):  # artefacts are read-only already; another chmod would change their identity
        (folder / name).chmod(0o444)
    with replacing(folder / STATUS, mode=0o444, synced=False) as temporary:
        temporary.write_text(status.model_dump_json(indent=1), encoding="utf-8")


def _take_artefacts(launch: Launch, claim: Claim, *, copy: bool) -> dict[str, Artefact]:
    stage = launch.job.stage
    names = list(dict.fromkeys(claim.artefacts))
    odd = [name for name in names if not ARTEFACTS[stage].allow(name)]
    missing = [name for name in ARTEFACTS[stage].always if name not in names]
    if odd or missing:
        problem = f"an artefact {odd[0]!r}" if odd else f"no artefact {missing[0]!r}"
        raise ContractError(f"a job of the stage {stage!r} left {problem}; this is a bug in pertharness")
    return {name: _take(launch.folder / OUT / name, launch.folder / name, copy=copy) for name in names}


def _take_caches(launch: Launch) -> tuple[dict[str, Artefact], list[str]]:
    """Return the compile caches that a job without data left, as an artefact, with notes on them."""
    if launch.job.stage != "cards":
        return {}, []
    path, note = keep_caches(launch.folder)
    return ({} if path is None else {path.name: _artefact(path, sha256_file(path))}), ([note] if note else [])


def _take(source: Path, target: Path, *, copy: bool) -> Artefact:
    """Move or copy one file into place, and return its size, sum and identity."""
    try:
        descriptor = open_plain(source)
    except FileNotFoundError:
        raise StoreError(f"the artefact {source.name!r} is missing") from None
    with os.fdopen(descriptor, "rb") as file:
        check_size(source.name, descriptor)
        remove_tree(target)  # put there by a plugin that was not sandboxed
        digest = hashlib.sha256()
        with target.open("xb") if copy else contextlib.nullcontext() as copied:
            while piece := file.read(1 << 20):
                digest.update(piece)
                if copied is not None:
                    copied.write(piece)
        if not copy:
            source.replace(target)
            if not os.path.samestat(os.fstat(descriptor), target.lstat()):
                raise StoreError(f"{source.name!r} was replaced while it was read")
    return _artefact(target, digest.hexdigest())


def _artefact(path: Path, sha256: str) -> Artefact:
    path.chmod(0o444)
    facts = path.stat()
    return Artefact(size=facts.st_size, sha256=sha256, identity=identity_of(facts))


def _is_file(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
