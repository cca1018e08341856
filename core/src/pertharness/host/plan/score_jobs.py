"""The jobs that score a prediction, one per scorer: a new metric never fits a model again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pertharness.contract.cards import ScorerOffer
from pertharness.contract.errors import RecipeError
from pertharness.contract.jobs import REFERENCE
from pertharness.contract.jobs import Task as JobTask
from pertharness.contract.options import ScoreOptions
from pertharness.contract.stages import HALVES, PREDICTION, PSEUDOBULK, SPLIT
from pertharness.host.plan.data_jobs import plan_halves
from pertharness.host.plan.inputs import Input, key_inputs
from pertharness.host.plan.planner import Planner, Scorers, find_offer, job_task, with_defaults
from pertharness.host.plugins.registry import Offered
from pertharness.host.recipe import TaskChoice as Task
from pertharness.host.recipe import parse_model
from pertharness.host.splits import KINDS


def is_for(offer: ScorerOffer, task: Task) -> bool:
    """Return whether a scorer is for a task; a split from a file counts as both kinds, since it is not read yet."""
    kind = KINDS.get(task.split.kind)
    kinds = {kind.task} if kind else {"double", "single"}
    if task.references:
        kinds.add("transfer")
    return not kinds.isdisjoint(offer.tasks)


def plan_scorers(planner: Planner) -> list[tuple[Offered[ScorerOffer], dict[str, Any]]]:
    """Return the scorers of a run with their parameters: those of the recipe, or all that clash with no earlier one.

    Raises
    ------
    RecipeError
        If a scorer is not installed, or two that the recipe names compute scores of the same name.
    """
    offers, named = planner.registry.scorers, planner.recipe.scorers
    chosen = []
    output_owners: dict[str, str] = {}
    for spec in named or map(parse_model, offers):
        scorer = find_offer(offers, spec.full_name, "scorer")
        if scorer.offer.calibrates and not planner.recipe.comparison.calibrate:
            if named:
                message = f"the scorer {spec.text()!r} needs a run that calibrates"
                raise RecipeError(f"{message}; add --calibrate, or calibrate = true under [comparison]")
            continue
        outputs = {f"scorer {scorer.offer.name!r}", *(f"metric {metric.id!r}" for metric in scorer.offer.metrics)}
        outputs |= {f"table {table.name!r}" for table in scorer.offer.tables}
        if clash := sorted(outputs & output_owners.keys()):
            message = f"the scorers {output_owners[clash[0]]!r} and {spec.text()!r} both compute the {clash[0]}"
            if named:
                raise RecipeError(f"{message}; name only one of them")
            planner.plan.notes.append(f"{message}: {spec.text()!r} is not used; name it with --scorers to use it")
            continue
        output_owners.update(dict.fromkeys(outputs, spec.text()))
        chosen.append((scorer, with_defaults(scorer.offer, spec.params, spec.text())))
    planner.plan.scorers.update({scorer.offer.name: scorer.offer for scorer, _ in chosen})
    return chosen


@dataclass(frozen=True)
class _ScoreJobs:
    """Common parts of the jobs of one scorer on one split."""

    scorer: Offered[ScorerOffer]
    params: Mapping[str, Any]
    options: dict[str, Any]
    task: JobTask
    data: tuple[Input, ...]
    others: tuple[Input, ...]
    """References and halves, which follow the prediction in the job."""


def plan_scores(
    planner: Planner, task: Task, seed: int, split: str, prediction: str, label: str, scorers: Scorers, *,
    against_half: bool = False,
) -> dict[str, str]:  # fmt: skip
    """Add the jobs that score a prediction, of the scorers that are for its task, and return their keys by scorer."""
    predicted = planner.from_record("prediction", "predictions", prediction, PREDICTION)
    keys = {}
    for scorer, params in scorers:
        if not is_for(scorer.offer, task):
            continue
        jobs = _score_jobs(planner, task, seed, split, scorer, params, against_half=against_half)
        name = jobs.scorer.offer.name
        keys[name] = planner.add_job(
            "scores", jobs.scorer.plugin, (*jobs.data, predicted, *jobs.others), name=name, params=jobs.params,
            task=jobs.task, options=jobs.options, cheap=True, preload=jobs.scorer.offer.preload,
            title=f"score {name} of {label}, {task.name} seed {seed}" + (" (half)" if against_half else ""),
        )  # fmt: skip
    return keys


def _score_jobs(
    planner: Planner, task: Task, seed: int, split: str, scorer: Offered[ScorerOffer], params: Mapping[str, Any], *,
    against_half: bool,
) -> _ScoreJobs:  # fmt: skip
    """Return the common parts of the jobs of a scorer on a split, made once."""
    scored = (id(task), seed, split, scorer.offer.name, against_half)
    if scored not in planner.score_jobs:  # kept next to the task, so that its identity stays valid
        dataset = planner.plan.datasets[str(task.dataset)]
        data = (
            planner.from_record("pseudobulk", "datasets", dataset, PSEUDOBULK, key_role="dataset"),
            planner.from_record("split", "splits", split, SPLIT),
        )
        halves = plan_halves(planner, str(task.dataset)) if against_half or scorer.offer.calibrates else ""
        of_halves = [planner.from_record("halves", "halves", halves, HALVES)] if halves else []
        taken = {"prediction", *key_inputs([*data, *of_halves])}
        others = [*(_reference(planner, name, taken) for name in task.references), *of_halves]
        options = ScoreOptions(score_on=task.score_on, offer=scorer.offer)
        if against_half:
            options = ScoreOptions(score_on=task.score_on, offer=scorer.offer, against="half_b")
        planner.score_jobs[scored] = (
            task,
            _ScoreJobs(scorer, params, options.written(), job_task(task, seed), data, tuple(others)),
        )
    jobs: _ScoreJobs = planner.score_jobs[scored][1]
    return jobs


def _reference(planner: Planner, name: str, taken: Collection[str]) -> Input:
    """Return another dataset as an input; in the key it has its own name, unless another input has `taken` it."""
    role = REFERENCE + name
    key_role = role if name in taken else name
    return planner.from_record(role, "datasets", planner.plan.datasets[name], PSEUDOBULK, key_role)
