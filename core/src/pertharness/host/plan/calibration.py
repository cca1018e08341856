"""The jobs that calibrate: halves of cells, the technical duplicate, every prediction against the second half."""

from __future__ import annotations

from dataclasses import replace

from pertharness.contract.cards import ScorerOffer
from pertharness.contract.errors import RecipeError
from pertharness.contract.stages import HALVES, SPLIT, TRAIN
from pertharness.host.leaderboard.settings import DUPLICATE
from pertharness.host.plan.inputs import plan_halves
from pertharness.host.plan.plan import Attempt, Plan
from pertharness.host.plan.planner import Planner, Scorers
from pertharness.host.plan.scores import plan_scores

POSITIONED = ("perturbation", "task")
"""Levels of the metrics that place a model between the reference and the technical duplicate."""


def plan_calibration(planner: Planner, scorers: Scorers) -> None:
    """Add, if the recipe says so, what the attempts of a plan are calibrated by; no other job is altered by it.

    Raises
    ------
    RecipeError
        If a model of the run has the duplicate's name.
    """
    plan = planner.plan
    if not planner.recipe.comparison.calibrate:
        return
    if any(attempt.label == DUPLICATE for attempt in plan.attempts):
        raise RecipeError(f"a model of this run is called {DUPLICATE!r}, which is the name of what it is calibrated by")
    chosen = [(one, params) for one, params in scorers if _has_position(one.offer)]
    places = {(one.dataset, one.task.name, one.seed): one for one in plan.attempts}
    plan.attempts[:] = [
        replace(one, half=_half_scores(planner, one, chosen)) if one.prediction else one for one in plan.attempts
    ]
    plan.duplicates.extend(_plan_duplicate(planner, one, chosen) for one in places.values())


def half_plan(plan: Plan) -> Plan:
    """Return the plan in which the attempts, and the technical duplicate, are scored against the half alone."""
    attempts = [replace(one, scores=one.half, common={}) for one in [*plan.attempts, *plan.duplicates]]
    scorers = {name: offer for name, offer in plan.scorers.items() if _has_position(offer)}
    return Plan(plan.nodes, attempts, plan.datasets, scorers)


def _has_position(offer: ScorerOffer) -> bool:
    """Return whether a scorer judges predictions, rather than the data by their halves."""
    return not offer.calibrates and any(metric.level in POSITIONED for metric in offer.metrics)


def _half_scores(planner: Planner, one: Attempt, scorers: Scorers) -> dict[str, str]:
    """Add the jobs that score a prediction against the second half of the cells."""
    return plan_scores(
        planner, one.task, one.seed, one.split, one.prediction, one.label, scorers, against_half=True
    )  # fmt: skip


def _plan_duplicate(planner: Planner, beside: Attempt, scorers: Scorers) -> Attempt:
    """Add the technical duplicate of the task of another attempt: read from the halves, as a file of predictions is."""
    halves = plan_halves(planner, beside.dataset)
    job = planner.job(
        "predictions", None, inputs={"split": beside.split, "halves": halves}, name=DUPLICATE,
        options={"score_on": list(beside.task.score_on)},
    )  # fmt: skip
    split, record = planner.store.record("splits", beside.split), planner.store.record("halves", halves)
    files = {"split": split / SPLIT, "train": split / TRAIN, "halves": record / HALVES}
    title = f"{DUPLICATE} on {beside.dataset} {beside.task.name} seed {beside.seed}"
    prediction = planner.node(
        job.model_copy(update={"inputs": files}), None, needs=(beside.split, halves), title=title, cheap=True
    )
    one = Attempt(
        beside.dataset, beside.task, beside.seed, 1, "pertharness", DUPLICATE, "", beside.split, prediction=prediction
    )
    return replace(one, half=_half_scores(planner, one, scorers))
