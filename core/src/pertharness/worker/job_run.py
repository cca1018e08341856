"""Run one job with its own log, and write a claim of how it ended, whatever the plugin does."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from pertharness.contract.jobs import Job, Phase, State
    from pertharness.worker.stages.result import Result

USAGE = 2
DISK_FULL = 28
"""Exit status if the disk is full (the number of ENOSPC). No claim is written, so that the next run does the job."""
LOG_TAIL = 4000
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def run_job(path: Path) -> int:
    """Run the job of a file, write the claim of how it ended, and return the exit status of the process."""
    from pertharness.contract.jobs import Job, describe_invalid
    from pertharness.files.full_disk import is_disk_full

    try:
        job = Job.model_validate_json(path.read_bytes())
    except ValueError as error:
        print(f"not a job file, or of another version of pertharness: {describe_invalid(error)}", file=sys.stderr)
        return USAGE
    for variable in THREAD_VARIABLES:  # before the import of numpy, which reads them once
        os.environ.setdefault(variable, str(job.threads))
    try:
        _carry_out(job, path.parent)
    except Exception as error:
        if not is_disk_full(error):
            raise
        print(f"disk full while writing {str(path.parent)!r}", file=sys.stderr)
        return DISK_FULL
    return 0


def _carry_out(job: Job, folder: Path) -> None:
    """Run one job in its folder, with a log and a scratch folder; write the claim last."""
    from pertharness.contract.jobs import CLAIM, LOG, OUT, SCRATCH, Claim
    from pertharness.contract.texts import MESSAGE_LIMIT, NOTE_LIMIT, TRACEBACK_LIMIT, shorten, shorten_notes, storable

    started = _now()
    for name in (OUT, SCRATCH):
        (folder / name).mkdir(exist_ok=True)
    phases: list[Phase] = []
    with _logging(folder / OUT / LOG), _chdir(folder / SCRATCH):
        result, state, type_, message, trace = _attempt(job, folder, phases)
        _print_whole(message, result.notes if result else [], trace)
    unanswered = result.unanswered if result else {}
    claim = Claim(
        state=state, type=storable(type_), message=shorten(storable(message), MESSAGE_LIMIT), phases=phases,
        traceback=shorten(storable(trace), TRACEBACK_LIMIT),
        notes=shorten_notes(result.notes if result else []),
        unanswered={storable(query): shorten(storable(reason), NOTE_LIMIT) for query, reason in unanswered.items()},
        artefacts=result.artefacts if result else [],
        started=started,
    )  # fmt: skip
    (folder / OUT).mkdir(exist_ok=True)
    temporary = folder / OUT / f"{CLAIM}.tmp"
    temporary.write_text(claim.model_dump_json(indent=1), encoding="utf-8")
    temporary.replace(folder / OUT / CLAIM)


def _print_whole(message: str, notes: list[str], trace: str) -> None:
    """Print to the log all texts that the record stores shortened."""
    from pertharness.contract.texts import MESSAGE_LIMIT, NOTE_LIMIT, NOTES_LIMIT, TRACEBACK_LIMIT

    long_notes = notes if len(notes) > NOTES_LIMIT else [note for note in notes if len(note) > NOTE_LIMIT]
    for text, limit in ((message, MESSAGE_LIMIT), (trace, TRACEBACK_LIMIT), *((note, 0) for note in long_notes)):
        if len(text) > limit:
            with contextlib.suppress(OSError, ValueError, AttributeError):  # the plugin may have closed the stream
                print(text, file=sys.stderr)


def _attempt(job: Job, folder: Path, phases: list[Phase]) -> tuple[Result | None, State, str, str, str]:
    """Return the result of the stage, and how it ended: state, class of the exception, message, traceback."""
    from pertharness.contract.errors import ChoiceError, ContractError, DataError, Skip
    from pertharness.contract.protocol import PROTOCOL
    from pertharness.files.full_disk import is_disk_full
    from pertharness.worker.stages import run_stage

    try:
        if job.protocol != PROTOCOL:
            raise ContractError(
                f"the job speaks hook protocol {job.protocol}, the pertharness of this environment speaks {PROTOCOL}; "
                "install the same version of pertharness on both sides"
            )
        with warnings.catch_warnings():  # a plugin's warning filters end with its job
            return run_stage(job, folder, phases), "done", "", "", ""
    except Skip as skip:
        return None, "skipped", "Skip", _text(skip), ""
    except ChoiceError as error:
        return None, "failed", "ChoiceError", _text(error), ""
    except DataError as error:
        return None, "failed", "DataError", _text(error), ""
    except ContractError as error:
        return None, "invalid", "ContractError", _text(error), ""
    except BaseException as error:  # whatever a plugin raises becomes a record
        if is_disk_full(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        name = type(error).__name__
        message = f"plugin {job.plugin.name!r}, {job.stage} {job.name!r}: {name}: {_text(error)}"
        return None, "failed", name, message, traceback.format_exc()


def _text(error: BaseException) -> str:
    """Return the text of an exception, even if its ``__str__`` fails."""
    try:
        return str(error)
    except BaseException as other:  # noqa: BLE001 - str() runs the plugin's code, and the record must be written
        return f"(the text of the exception is not available: {type(other).__name__})"


def tail(path: Path) -> str:
    """Return the end of a log; empty if there is no log."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_TAIL))
        return file.read().decode("utf-8", "replace")


@contextlib.contextmanager
def _logging(path: Path) -> Iterator[None]:
    """Redirect the output of this process and its children, including C code, to the log."""
    saved = os.dup(1), os.dup(2)
    streams = sys.stdout, sys.stderr
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = _flushed(streams[0], 1), _flushed(streams[1], 2)
        for number, old in zip((1, 2), saved, strict=True):
            os.dup2(old, number)
            os.close(old)


def _flushed(stream: TextIO, number: int) -> TextIO:
    """Flush a stream and return it; return a new one if the plugin closed or detached it."""
    try:
        stream.flush()
    except (ValueError, OSError):
        return open(number, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
    return stream


@contextlib.contextmanager
def _chdir(folder: Path) -> Iterator[None]:
    """Change the working directory for the block (`contextlib.chdir` needs Python 3.11)."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
