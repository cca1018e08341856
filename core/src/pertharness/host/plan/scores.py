"""The jobs that score a prediction: one per scorer, so that a new metric never fits a model again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pertharness.contract.cards import ScorerOffer
from pertharness.contract.errors import RecipeError
from pertharness.contract.jobs import Task as JobTask
from pertharness.contract.stages import HALVES, PREDICTION, PSEUDOBULK, SPLIT
from pertharness.host.plan.inputs import plan_halves
from pertharness.host.plan.planner import Planner, Scorers, find_offer, job_task, with_defaults
from pertharness.host.plugins.registry import Offered
from pertharness.host.recipe import TaskChoice as Task
from pertharness.host.recipe import parse_model
from pertharness.host.splits import KINDS


def is_for(offer: ScorerOffer, task: Task) -> bool:
    """Return whether a scorer is for a task; what a given split holds out is not known before it is read."""
    kind = KINDS.get(task.split.kind)
    asked = {kind.task} if kind else {"double", "single"}
    if task.references:
        asked.add("transfer")
    return not asked.isdisjoint(offer.tasks)


def plan_scorers(planner: Planner) -> list[tuple[Offered[ScorerOffer], dict[str, Any]]]:
    """Return the scorers of the recipe with their parameters; where all are meant, of two that clash the first.

    Raises
    ------
    RecipeError
        If there is no such scorer, or two that were named give scores of one name.
    """
    found, named = planner.registry.scorers, planner.recipe.scorers
    chosen = []
    givers: dict[str, str] = {}
    for spec in named or map(parse_model, found):
        one = find_offer(found, spec.full_name, "scorer")
        if one.offer.calibrates and not planner.recipe.comparison.calibrate:
            if named:
                message = f"the scorer {spec.text()!r} is for runs that calibrate"
                raise RecipeError(f"{message}; say --calibrate, or calibrate = true under [comparison]")
            continue
        given = {f"scorer {one.offer.name!r}", *(f"metric {metric.id!r}" for metric in one.offer.metrics)}
        given |= {f"table {table.name!r}" for table in one.offer.tables}
        if clash := sorted(given & givers.keys()):
            message = f"the scorers {givers[clash[0]]!r} and {spec.text()!r} both give the {clash[0]}"
            if named:
                raise RecipeError(f"{message}; its scores could not be told apart: name one of them in a run")
            planner.plan.notes.append(f"{message}: {spec.text()!r} is left aside; name it with --scorers to use it")
            continue
        givers.update(dict.fromkeys(given, spec.text()))
        chosen.append((one, with_defaults(one.offer, spec.params, spec.text())))
    planner.plan.scorers.update({one.offer.name: one.offer for one, _ in chosen})
    return chosen


class _Asked(NamedTuple):
    """What the jobs of one scorer on one split have in common, whatever they score."""

    scorer: Offered[ScorerOffer]
    params: Mapping[str, Any]
    needs: dict[str, str]
    """With an empty place for the prediction."""
    options: dict[str, Any]
    task: JobTask
    files: dict[str, Path]
    references: dict[str, Path]


def plan_scores(
    planner: Planner, task: Task, seed: int, split: str, prediction: str, label: str, scorers: Scorers, *,
    against_half: bool = False,
) -> dict[str, str]:  # fmt: skip
    """Add the jobs that score a prediction, of the scorers that are for its task, and return their keys by scorer."""
    file = planner.store.record("predictions", prediction) / PREDICTION
    keys = {}
    for scorer, params in scorers:
        if not is_for(scorer.offer, task):
            continue
        place = (id(task), seed, split, scorer.offer.name, against_half)
        if place not in planner.asked:  # beside the task, which so stays what it is
            planner.asked[place] = task, _ask(planner, task, seed, split, scorer, params, against_half=against_half)
        one: _Asked = planner.asked[place][1]
        name = one.scorer.offer.name
        needs = {**one.needs, "prediction": prediction}
        job = planner.job(
            "scores", one.scorer.plugin, inputs=needs, name=name, params=one.params, task=one.task,
            options=one.options,
        )  # fmt: skip
        keys[name] = planner.node(
            job.model_copy(update={"inputs": {**one.files, "prediction": file}, "references": one.references}),
            one.scorer.plugin, cheap=True, preload=one.scorer.offer.preload, needs=tuple(needs.values()),
            title=f"score {name} of {label}, {task.name} seed {seed}" + (" (half)" if against_half else ""),
        )  # fmt: skip
    return keys


def _ask(
    planner: Planner, task: Task, seed: int, split: str, scorer: Offered[ScorerOffer], params: Mapping[str, Any], *,
    against_half: bool,
) -> _Asked:  # fmt: skip
    """Return what the jobs of a scorer on a split have in common."""
    dataset, record = planner.plan.datasets[str(task.dataset)], planner.store.record
    references = {other: planner.plan.datasets[other] for other in task.references}
    halves = plan_halves(planner, str(task.dataset)) if against_half or scorer.offer.calibrates else ""
    needs = {"dataset": dataset, "split": split, "prediction": "", **references}
    needs |= {"halves": halves} if halves else {}
    options = {"score_on": list(task.score_on), "offer": scorer.offer.model_dump(mode="json", exclude={"params_help"})}
    options |= {"against": "half_b"} if against_half else {}
    files = {
        "pseudobulk": record("datasets", dataset) / PSEUDOBULK,
        "split": record("splits", split) / SPLIT,
        "prediction": Path(),
    }
    files |= {"halves": record("halves", halves) / HALVES} if halves else {}
    of_references = {other: record("datasets", key) / PSEUDOBULK for other, key in references.items()}
    return _Asked(scorer, params, needs, options, job_task(task, seed), files, of_references)
