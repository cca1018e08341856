"""The stages of jobs, one module each: what a stage reads, which hooks it calls, and its results."""

from __future__ import annotations

import contextlib
import pkgutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from pertharness.contract.jobs import OUT, Job, Phase
from pertharness.contract.stages import Stage
from pertharness.worker.stages.cards import write_card
from pertharness.worker.stages.datasets import write_dataset
from pertharness.worker.stages.embeddings import write_embedding_of_split
from pertharness.worker.stages.oracles import write_oracle
from pertharness.worker.stages.predictions import write_prediction
from pertharness.worker.stages.result import Result
from pertharness.worker.stages.scores import write_scores
from pertharness.worker.stages.side_files import write_side_file
from pertharness.worker.stages.splits import write_halves, write_parts

STAGES: Mapping[Stage, Callable[[Job, Path, list[Phase]], Result] | str] = MappingProxyType(
    {
        "cards": write_card,
        "datasets": write_dataset,
        "splits": write_parts,
        "halves": write_halves,
        "oracles": write_oracle,
        "embeddings": write_embedding_of_split,
        "predictions": write_prediction,
        "scores": write_scores,
        "side_files": write_side_file,
        "checks": "pertharness.testing.checks:run_check_job",
    }
)
"""Stage -> the function that carries it out; for a stage of another package, its entry point."""


def run_stage(job: Job, folder: Path, phases: list[Phase]) -> Result:
    """Carry out a job in its folder, and append the cost of its hooks to `phases`.

    Raises
    ------
    ContractError
        If the plugin breaks a contract.
    """
    stage = STAGES[job.stage]
    return (pkgutil.resolve_name(stage) if isinstance(stage, str) else stage)(job, folder / OUT, phases)


def preload(job: Job) -> None:
    """Read what score jobs of one split and one prediction share, in the process that forks these jobs.

    Errors are ignored: they occur again in the job itself, which has a record to report them.
    """
    from pertharness.worker.observed import read_observed, read_predicted

    if job.stage == "scores":
        with contextlib.suppress(Exception):
            read_observed(job)
            read_predicted(job.inputs["prediction"])
