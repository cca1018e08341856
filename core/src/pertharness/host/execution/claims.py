"""The report and the output of a job's process, cut to the form and length of a record."""

from __future__ import annotations

import math
import os
from pathlib import Path

from pydantic import ValidationError

from pertharness.contract.errors import StoreError
from pertharness.contract.jobs import LOG, OUT, Claim, Phase
from pertharness.contract.texts import NOTE_LIMIT, TRACEBACK_LIMIT, shorten, shorten_notes, storable
from pertharness.files.trees import remove_tree
from pertharness.host.execution.batch import Launch
from pertharness.host.execution.plain_files import open_plain
from pertharness.worker.job_run import LOG_TAIL

LARGEST_CLAIM = 64_000_000
"""Largest size of a claim in bytes."""
LARGEST_LOG = 64_000_000
"""Bytes of a log that are kept, from its beginning; a sparse file can claim to be much longer than it is."""
NAME_LIMIT = 200
"""Longest name of an exception's class, or of a phase, in characters."""
MOST_PHASES = 1000
"""Largest number of phases; a job has about five."""


def read_claim(path: Path) -> Claim | None:
    """Return the worker's report on its job; None if it is not valid.

    A worker of this version cuts its texts itself, but what a plugin's process wrote need not be of one; the message is
    cut with all others, where the job is settled.
    """
    try:
        descriptor = open_plain(path)
    except (OSError, StoreError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        text = file.read(LARGEST_CLAIM + 1)
    try:
        claim = Claim.model_validate_json(text) if len(text) <= LARGEST_CLAIM else None
    except (ValidationError, RecursionError):
        return None
    if claim is None or len(claim.phases) > MOST_PHASES or not all(map(_is_finite, claim.phases)):
        return None
    return claim.model_copy(
        update={
            "type": shorten(storable(claim.type), NAME_LIMIT),
            "phases": [
                phase.model_copy(update={"name": shorten(storable(phase.name), NAME_LIMIT)}) for phase in claim.phases
            ],
            "traceback": shorten(storable(claim.traceback), TRACEBACK_LIMIT),
            "notes": shorten_notes(claim.notes),
            "unanswered": {query: shorten(storable(reason), NOTE_LIMIT) for query, reason in claim.unanswered.items()},
        }
    )


def _is_finite(phase: Phase) -> bool:
    """Return whether the cost of a phase can be written as JSON and read back."""
    return all(map(math.isfinite, (phase.wall_s, phase.cpu_s, phase.peak_rss_mb, phase.peak_gpu_mb or 0.0)))


def take_log(launch: Launch) -> None:
    """Copy the log of the job's processes next to the other files; write an empty log if it is not a plain file."""
    target = launch.folder / LOG
    remove_tree(target)  # put there by a plugin that was not sandboxed
    with target.open("xb") as copied:
        try:
            descriptor = open_plain(launch.folder / OUT / LOG)
        except (OSError, StoreError):  # removed, or replaced, by the plugin
            return
        with os.fdopen(descriptor, "rb") as file:
            n_bytes_left = LARGEST_LOG
            while n_bytes_left and (piece := file.read(min(1 << 20, n_bytes_left))):
                copied.write(piece)
                n_bytes_left -= len(piece)
            if file.read(1):
                copied.write(b"\n[pertharness: the log was cut here, it grew too large]\n")


def log_tail(launch: Launch) -> str:
    """Return the end of the log that `take_log` copied; empty if there is none."""
    try:
        descriptor = open_plain(launch.folder / LOG)
    except (OSError, StoreError):
        return ""
    with os.fdopen(descriptor, "rb") as file:
        file.seek(max(0, os.fstat(descriptor).st_size - LOG_TAIL))
        return file.read().decode("utf-8", "replace")
