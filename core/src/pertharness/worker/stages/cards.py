"""The stage ``cards``: the offers of a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pertharness.contract.stages import CARD
from pertharness.worker.hooks import guarded_hooks, implemented
from pertharness.worker.stages.result import Result

if TYPE_CHECKING:
    from pathlib import Path

    from pertharness.contract.jobs import Job, Phase


def write_card(job: Job, folder: Path, phases: list[Phase]) -> Result:
    """Write the card of the job's plugin."""
    card = implemented(guarded_hooks(job, phases), "describe", job)()
    (folder / CARD).write_text(card.model_dump_json(indent=1), encoding="utf-8")
    return Result([CARD])
