"""The metrics of a run that models can be compared by: the primary one, and the one that a grid selects by."""

from __future__ import annotations

from pertharness.contract.cards import MetricOffer, ScorerOffer
from pertharness.contract.errors import RecipeError
from pertharness.host.plan.plan import Plan
from pertharness.host.plan.score_jobs import is_for
from pertharness.host.recipe import ComparisonChoice
from pertharness.host.recipe import TaskChoice as Task
from pertharness.host.text.did_you_mean import expected

RANKED = ("perturbation", "task")
"""Levels of the metrics that models can be ranked by, in order of preference if the recipe does not choose one."""


def primary_metric(plan: Plan, metric_id: str) -> str:
    """Return the metric to rank by.

    It is `metric_id`, or the first metric of the scorers if none of them computes the default ``l2``.

    Raises
    ------
    RecipeError
        If the recipe names a metric that none of its scorers computes.
    """
    metrics = [metric for offer in plan.scorers.values() for metric in offer.metrics if metric.level in RANKED]
    available = [metric.id for metric in sorted(metrics, key=lambda metric: RANKED.index(metric.level))]
    if metric_id in available or not available:
        return metric_id
    if metric_id == ComparisonChoice().metric:
        return available[0]
    raise RecipeError(
        f"comparison.metric: no scorer of this run computes {metric_id!r}; {expected(metric_id, available)}"
    )


def selecting_metric(plan: Plan, task: Task, comparison: ComparisonChoice) -> tuple[ScorerOffer, MetricOffer]:
    """Return the metric that the grids of a task select by, with its scorer.

    It is the task's ``select``, or else that of the comparison, or else the primary metric. A metric of whole splits
    has one value, that of the whole val part.

    Raises
    ------
    RecipeError
        If no scorer of the run computes the metric for this task, or if it does not compare two models.
    """
    metric_id = task.select or comparison.select or primary_metric(plan, comparison.metric)
    usable = {
        metric.id: (offer, metric) for offer in plan.scorers.values() for metric in offer.metrics
        if metric.level in RANKED and metric.variants[0] not in metric.unranked and not offer.calibrates
        and is_for(offer, task)
    }  # fmt: skip
    if metric_id in usable:
        return usable[metric_id]
    where = f"task {task.name!r}: a grid cannot select by {metric_id!r}"
    for offer in plan.scorers.values():
        for metric in offer.metrics:
            if metric.id == metric_id:
                raise RecipeError(f"{where}: {_why_unusable(offer, metric, task)}; {_instead(usable, '')}")
    raise RecipeError(f"{where}: no scorer of this run computes it; {_instead(usable, metric_id)}")


def _instead(usable: dict[str, tuple[ScorerOffer, MetricOffer]], metric_id: str) -> str:
    """Return what to do about a metric that cannot be selected by."""
    return f"set select to another metric: {expected(metric_id, usable)}" if usable else "add a scorer to the run"


def _why_unusable(offer: ScorerOffer, metric: MetricOffer, task: Task) -> str:
    """Return why a metric of the run cannot be selected by."""
    if metric.level not in RANKED:
        return f"it has no value of a prediction or of a split, but values of the level {metric.level!r}"
    if offer.calibrates:
        return f"its scorer {offer.name!r} measures the data, not the models"
    if metric.variants[0] in metric.unranked:
        return "its card says that the values of two models cannot be compared"
    return f"its scorer {offer.name!r} does not score this task (its card: {', '.join(offer.tasks)})"
