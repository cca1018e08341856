"""The folder of a job before it starts."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from pertharness.contract.errors import StoreError
from pertharness.contract.jobs import SCRATCH, Stage, State, Status
from pertharness.files.trees import remove_tree, unlock_folder
from pertharness.files.whole import write_text
from pertharness.host.execution.batch import Mechanism
from pertharness.host.execution.nodes import Node
from pertharness.host.execution.plain_files import open_plain
from pertharness.host.store.records import JOB

TRIED_WITH = "mechanism.txt"
"""Names what isolated the last attempt of a job, next to the files of that attempt."""
STRENGTH = {"none": 0, "landlock": 1, "bwrap": 2}
"""Rank of mechanisms, to find attempts that were isolated by less than requested."""
RESUMED: tuple[Stage, ...] = ("embeddings", "predictions")
"""Stages whose hooks get the scratch folder as ``workdir``."""
ENDED_FROM_OUTSIDE: tuple[State, ...] = ("crashed", "timeout")


def lay_out(node: Node, work: Path, mechanism: Mechanism) -> None:
    """Lay out the folder of a job; the scratch folder of an earlier, unfinished attempt is kept for resuming.

    The scratch folder is not kept if that attempt was isolated by less, because it may hold data that this one must not
    read.
    """
    work.mkdir(parents=True, exist_ok=True)
    unlock_folder(str(work))  # a killed process may have closed it
    keeps = STRENGTH.get(_tried_with(work), 0) >= STRENGTH[mechanism]
    for path in work.iterdir():
        if path.name != SCRATCH or not keeps or not unlock_folder(str(path)):
            remove_tree(path)
    write_text(work / TRIED_WITH, mechanism, synced=False)
    write_text(work / JOB, node.job.model_dump_json(indent=1), synced=False)
    if node.prepare:
        node.prepare(work)


def set_aside(node: Node, status: Status, work: Path) -> Path | None:
    """Move the scratch folder of a job out of its folder, and return where it is; None if no other attempt may use it.

    Of models and embeddings alone, which may take hours, and only where the job was ended from outside: by a time
    limit, for its memory, or by somebody. What raised an error would go on to raise it.
    """
    scratch, aside = work / SCRATCH, work.with_name(f"{work.name}.{SCRATCH}")
    if node.stage not in RESUMED or status.state not in ENDED_FROM_OUTSIDE:
        return None
    try:
        if not unlock_folder(str(scratch)) or not any(scratch.iterdir()):
            return None
        remove_tree(aside)
        return scratch.rename(aside)
    except OSError:  # the record is what counts: the next attempt starts from the beginning
        return None


def leave_for_next_try(aside: Path, status: Status, work: Path) -> None:
    """Put a scratch folder where the next attempt of its job looks for it, with what isolated this one."""
    with contextlib.suppress(OSError):
        work.mkdir()
        aside.rename(work / SCRATCH)
        write_text(work / TRIED_WITH, status.isolation.mechanism if status.isolation else "none", synced=False)


def _tried_with(work: Path) -> str:
    try:
        descriptor = open_plain(work / TRIED_WITH)
    except (OSError, StoreError):
        return "none"
    with os.fdopen(descriptor, "rb") as file:
        return file.read(20).decode("ascii", "replace")
