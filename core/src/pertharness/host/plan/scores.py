"""The jobs that score a prediction: one per scorer, so that a new metric never fits a model again."""

from __future__ import annotations

from typing import Any

from pertharness.cards import ScorerOffer
from pertharness.errors import RecipeError
from pertharness.host.plan.planner import Planner, Scorers, find_offer, job_task, with_defaults
from pertharness.host.recipe import ModelSpec
from pertharness.host.recipe import TaskChoice as Task
from pertharness.host.registry import Offered


def plan_scorers(planner: Planner) -> list[tuple[Offered[ScorerOffer], dict[str, Any]]]:
    """Give the scorers of the recipe with their parameters."""
    found = planner.registry.scorers
    specs = planner.recipe.scorers or tuple(ModelSpec(None, name) for name in found)
    chosen = [(find_offer(found, spec.name, "scorer"), spec) for spec in specs]
    if len({one.offer.name for one, _ in chosen}) < len(chosen):
        raise RecipeError(
            "scorers: one scorer is there twice; its scores could not be told apart: run it once per recipe"
        )
    planner.plan.scorers.update({one.offer.name: one.offer for one, _ in chosen})
    return [(one, with_defaults(one.offer, spec.params, spec.text())) for one, spec in chosen]


def plan_scores(
    planner: Planner, task: Task, seed: int, split: str, prediction: str, label: str, scorers: Scorers
) -> dict[str, str]:
    """Add the jobs that score a prediction and give their keys by scorer."""
    keys = {}
    for scorer, params in scorers:
        name = scorer.offer.name
        dataset = planner.plan.datasets[str(task.dataset)]
        references = {other: planner.plan.datasets[other] for other in task.references}
        needs = {"dataset": dataset, "split": split, "prediction": prediction, **references}
        job = planner.job(
            "scores", scorer.plugin, inputs=needs, name=name, params=params, task=job_task(task, seed),
            options={"score_on": list(task.score_on), "offer": scorer.offer.model_dump(mode="json")},
        )  # fmt: skip
        files = {
            "pseudobulk": planner.store.record("datasets", dataset) / "pseudobulk.h5ad",
            "split": planner.store.record("splits", split) / "split.json",
            "prediction": planner.store.record("predictions", prediction) / "prediction.h5ad",
        }
        reference_files = {
            other: planner.store.record("datasets", key) / "pseudobulk.h5ad" for other, key in references.items()
        }
        keys[name] = planner.node(
            job.model_copy(update={"inputs": files, "references": reference_files}), scorer.plugin, cheap=True,
            needs=tuple(needs.values()), title=f"score {name} of {label}, {task.name} seed {seed}",
        )  # fmt: skip
    return keys
