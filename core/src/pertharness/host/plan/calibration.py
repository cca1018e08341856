"""The jobs that calibrate: halves of cells, the technical duplicate, every prediction against the second half."""

from __future__ import annotations

from dataclasses import replace

from pertharness.contract.cards import ScorerOffer
from pertharness.contract.errors import RecipeError
from pertharness.contract.options import DuplicateOptions
from pertharness.contract.stages import HALVES, SPLIT, TRAIN
from pertharness.host.leaderboard.comparison import DUPLICATE
from pertharness.host.plan.data_jobs import plan_halves
from pertharness.host.plan.plan import Attempt, Plan
from pertharness.host.plan.planner import Planner, Scorers
from pertharness.host.plan.score_jobs import plan_scores

POSITIONED = ("perturbation", "task")
"""Levels of the metrics that place a model between the reference and the technical duplicate."""


def plan_calibration(planner: Planner, scorers: Scorers) -> None:
    """Add the jobs that calibrate the attempts of a plan, if the recipe asks for it; other jobs stay the same.

    Raises
    ------
    RecipeError
        If a model of the run has the name of the technical duplicate.
    """
    plan = planner.plan
    if not planner.recipe.comparison.calibrate:
        return
    if any(attempt.label == DUPLICATE for attempt in plan.attempts):
        raise RecipeError(
            f"the name {DUPLICATE!r} is reserved for the technical duplicate of a run that calibrates; "
            "leave the model out, or run without --calibrate"
        )
    of_splits = {(attempt.dataset, attempt.task.name, attempt.seed): attempt for attempt in plan.attempts}
    plan.attempts[:] = [
        replace(attempt, half=half_scores(planner, attempt, scorers)) if attempt.prediction else attempt
        for attempt in plan.attempts
    ]
    plan.duplicates.extend(_plan_duplicate(planner, attempt, scorers) for attempt in of_splits.values())


def half_plan(plan: Plan) -> Plan:
    """Return the plan in which the attempts and the technical duplicate are scored against the second half only."""
    attempts = [replace(each, scores=each.half, common={}) for each in [*plan.attempts, *plan.duplicates]]
    scorers = {name: offer for name, offer in plan.scorers.items() if _has_position(offer)}
    return Plan(plan.nodes, attempts, plan.datasets, scorers)


def _has_position(offer: ScorerOffer) -> bool:
    """Return whether a scorer judges predictions, not the data by their halves."""
    return not offer.calibrates and any(metric.level in POSITIONED for metric in offer.metrics)


def half_scores(planner: Planner, attempt: Attempt, scorers: Scorers) -> dict[str, str]:
    """Add the jobs that score a prediction against the second half of the cells, and return their keys by scorer.

    There are none in a run that does not calibrate.
    """
    if not planner.recipe.comparison.calibrate:
        return {}
    chosen = [(scorer, params) for scorer, params in scorers if _has_position(scorer.offer)]
    return plan_scores(
        planner, attempt.task, attempt.seed, attempt.split, attempt.prediction, attempt.label, chosen,
        against_half=True,
    )  # fmt: skip


def _plan_duplicate(planner: Planner, beside: Attempt, scorers: Scorers) -> Attempt:
    """Add the technical duplicate on the split of an attempt, read from the halves, and return it as an attempt."""
    inputs = [
        planner.from_record("split", "splits", beside.split, SPLIT),
        planner.from_record("train", "splits", beside.split, TRAIN, key_role="split"),
        planner.from_record("halves", "halves", plan_halves(planner, beside.dataset), HALVES),
    ]
    prediction = planner.add_job(
        "predictions", None, inputs, name=DUPLICATE, cheap=True,
        options=DuplicateOptions(score_on=beside.task.score_on).written(),
        title=f"{DUPLICATE} on {beside.dataset} {beside.task.name} seed {beside.seed}",
    )  # fmt: skip
    duplicate = Attempt(
        beside.dataset, beside.task, beside.seed, 1, "pertharness", DUPLICATE, "", beside.split, prediction=prediction
    )
    return replace(duplicate, half=half_scores(planner, duplicate, scorers))
