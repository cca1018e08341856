"""The folder of a job before it starts."""

from __future__ import annotations

import os
from pathlib import Path

from pertharness.contract.errors import StoreError
from pertharness.contract.jobs import SCRATCH
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


def _tried_with(work: Path) -> str:
    try:
        descriptor = open_plain(work / TRIED_WITH)
    except (OSError, StoreError):
        return "none"
    with os.fdopen(descriptor, "rb") as file:
        return file.read(20).decode("ascii", "replace")
