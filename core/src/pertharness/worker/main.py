"""The worker's main: one job after the other, each with its own log, and a status for each whatever the plugin does."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pertharness.jobs import Job, Phase, State, Status
    from pertharness.worker.stages import Result

USAGE = 2
DISK_FULL = 28
"""Exit status when the disk is full (the number of ENOSPC): no status is written, the next run goes on from here."""
LOG_TAIL = 4000
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def main(arguments: list[str]) -> int:
    """Carry out the jobs in order; give 0 when each has its status."""
    paths = [Path(argument).absolute() for argument in arguments]
    if not paths or not all(path.is_file() for path in paths):
        print("usage: python -I -m pertharness.worker JOB.json [JOB.json ...]; each must be a file", file=sys.stderr)
        return USAGE
    threads = str(json.loads(paths[0].read_text(encoding="utf-8")).get("threads", 1))
    for variable in THREAD_VARIABLES:  # before numpy is imported, which reads them once
        os.environ[variable] = threads
    if parent := os.environ.pop("PERTHARNESS_RUNNER", ""):
        threading.Thread(target=_die_with, args=(int(parent),), daemon=True).start()
    from pertharness.jobs import Job

    for path in paths:
        job = Job.model_validate_json(path.read_bytes())
        try:
            _carry_out(job, path.parent)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                print(f"disk full while writing {str(path.parent)!r}", file=sys.stderr)
                return DISK_FULL
            raise
    return 0


def _die_with(parent: int) -> None:
    """End this worker and its children when the runner that started it is gone, so that nothing works on unseen."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _carry_out(job: Job, folder: Path) -> None:
    """Do one job in its folder: log, scratch folder as working directory, artefacts, and the status last of all."""
    from pertharness.files import write_text

    started = _now()
    write_text(folder / "started.json", json.dumps({"pid": os.getpid(), "started": started}))
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    phases: list[Phase] = []
    with _logging(folder / "log.txt"), _chdir(scratch):
        result, state, type_, message, trace = _attempt(job, folder, phases)
    log = (folder / "log.txt").read_bytes()[-LOG_TAIL:].decode("utf-8", "replace")
    status = _status(job, folder, state, result).model_copy(
        update={
            "type": type_, "message": message, "traceback": trace, "log_tail": "" if state == "done" else log,
            "phases": phases, "started": started, "finished": _now(), "host": socket.gethostname(),
            "device": job.device,
        }
    )  # fmt: skip
    (folder / "started.json").unlink()
    write_text(folder / "status.json", status.model_dump_json(indent=1))


def _attempt(job: Job, folder: Path, phases: list[Phase]) -> tuple[Result | None, State, str, str, str]:
    """Give what the stage gave, and how it ended: state, class of the exception, message, traceback."""
    from pertharness.errors import ContractError, DataError, Skip
    from pertharness.worker.stages import run_stage

    try:
        return run_stage(job, folder, phases), "done", "", "", ""
    except Skip as skip:
        return None, "skipped", "Skip", str(skip), ""
    except DataError as error:
        return None, "failed", "DataError", str(error), ""
    except ContractError as error:
        return None, "invalid", "ContractError", str(error), ""
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        return None, "failed", type(error).__name__, str(error), traceback.format_exc()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the one place where anything of a plugin becomes a record
        where = f"plugin {job.plugin.name!r}, {job.stage} {job.name!r}"
        return None, "failed", type(error).__name__, f"{where}: {type(error).__name__}: {error}", traceback.format_exc()


def _status(job: Job, folder: Path, state: State, result: Result | None) -> Status:
    from pertharness.files import sha256_file
    from pertharness.jobs import Artefact, Status

    names = result.artefacts if result else []
    artefacts = {
        name: Artefact(size=(folder / name).stat().st_size, sha256=sha256_file(folder / name)) for name in names
    }
    notes, unanswered = (result.notes, result.unanswered) if result else ([], {})
    return Status(key=job.key, state=state, artefacts=artefacts, notes=notes, unanswered=unanswered)


@contextlib.contextmanager
def _logging(path: Path) -> Iterator[None]:
    """Send all that this process and its children print to the log, C code included."""
    kept = os.dup(1), os.dup(2)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, old in zip((1, 2), kept, strict=True):
            os.dup2(old, number)
            os.close(old)


@contextlib.contextmanager
def _chdir(folder: Path) -> Iterator[None]:
    """Work in a folder for a while (`contextlib.chdir` needs Python 3.11)."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
