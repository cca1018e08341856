"""Collect the costs of all jobs of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pertharness.contract.jobs import Status
from pertharness.host.execution.nodes import Outcome
from pertharness.host.plan import Attempt, Candidate, Plan

WHOLE_JOB = "job"
"""The phase that stands for all of a job."""


def join_costs(plan: Plan, outcomes: Mapping[str, Outcome]) -> pd.DataFrame:
    """Return the cost of each job, in a row with the phase ``job``, and of each of its phases.

    The watcher measures the job from outside; the worker reports the phases. Jobs that run no plugin are left out. A
    grid's are those of all of its candidates.
    """
    rows: list[dict[str, Any]] = []
    candidates = {selection.position: selection.candidates for selection in plan.selections}
    for position, attempt in enumerate(plan.attempts):
        owner = {
            "dataset": attempt.dataset, "task": attempt.task.name, "seed": attempt.seed,
            "training_seed": attempt.training_seed, "plugin": attempt.plugin, "model": attempt.model,
            "params": attempt.params,
        }  # fmt: skip
        for stage, key in _jobs_of(attempt, candidates.get(position, ())):
            status = outcomes[key].status if key in outcomes else None
            outcome_cells = {"device": status.device, "state": status.state, "key": key} if status else {}
            rows.extend(
                {**owner, "stage": stage, **cost, **outcome_cells} for cost in (_costs_of(status) if status else ())
            )
    columns: Sequence[str] = (
        "dataset", "task", "seed", "training_seed", "plugin", "model", "params", "stage", "phase", "wall_s", "cpu_s",
        "peak_rss_mb", "peak_gpu_mb", "device", "state", "key",
    )  # fmt: skip
    return pd.DataFrame(rows, columns=list(columns))


def _jobs_of(attempt: Attempt, candidates: Sequence[Candidate]) -> list[tuple[str, str]]:
    """Return stage and key of each job behind an attempt, once."""
    predictions = [attempt.prediction, *(each.prediction for each in candidates)]
    scores = [*attempt.scores.values(), *attempt.common.values(), *(each.val_scores for each in candidates)]
    by_stage = {"predictions": predictions, "scores": scores}
    return [(stage, key) for stage, keys in by_stage.items() for key in dict.fromkeys(keys)]


def _costs_of(status: Status) -> list[dict[str, Any]]:
    """Return the costs of a record, by phase and for the whole job."""
    phases = [phase.model_dump() for phase in status.phases]
    costs = [{"phase": phase.pop("name"), **phase} for phase in phases]
    if phases and status.cost is not None:
        peaks = [phase["peak_gpu_mb"] for phase in phases if phase["peak_gpu_mb"] is not None]
        costs.append({"phase": WHOLE_JOB, **status.cost.model_dump(), "peak_gpu_mb": max(peaks, default=None)})
    return costs
