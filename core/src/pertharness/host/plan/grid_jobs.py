"""The jobs of a grid: each of its candidates is fitted, predicts what is scored and val, and is scored on val alone.

What is scored for the leaderboard waits until a candidate is chosen: see `pertharness.host.plan.selection`.
"""

from __future__ import annotations

import json
from dataclasses import replace

from pertharness.contract.cards import ModelOffer
from pertharness.contract.errors import RecipeError
from pertharness.host.plan.calibration import half_scores
from pertharness.host.plan.data_jobs import plan_split
from pertharness.host.plan.embedding_jobs import by_chance, shown_files, shown_slots
from pertharness.host.plan.metric_choice import selecting_metric
from pertharness.host.plan.oracle_jobs import has_oracle
from pertharness.host.plan.plan import Attempt, Candidate, Selection
from pertharness.host.plan.planner import Planner, Scorers, add_attempt, params_text
from pertharness.host.plan.prediction_jobs import (
    find_model,
    model_options,
    plan_model,
    plan_prediction,
    shown_model,
    why_not_planned,
)
from pertharness.host.plan.score_jobs import plan_scores
from pertharness.host.plugins.registry import Offered, Registry
from pertharness.host.recipe import ModelSpec
from pertharness.host.recipe import TaskChoice as Task

SELECTION = "selection"
"""Name of the table with the scores of all candidates on val."""


def plan_grid(planner: Planner, task: Task, seed: int, spec: ModelSpec, scorers: Scorers) -> None:
    """Add the jobs of a grid's candidates on one split, and an attempt for each training seed.

    If the training seed changes what any of them predicts, all are compared with every training seed.

    Raises
    ------
    RecipeError
        If the task's split is a file without val, if the metric to select by is of no use, or if a scorer has a table
        of the same name as that of the selections.
    """
    offered = find_model(planner.registry, spec)
    if offered is None:
        plan_model(planner, task, seed, spec, scorers)
        return
    _check_val(task, spec)
    _check_tables(planner)
    scorer, metric = selecting_metric(planner.plan, task, planner.recipe.comparison)
    selecting = [chosen for chosen in scorers if chosen[0].offer is scorer]
    shown, split = shown_model(planner.registry, spec), plan_split(planner, task, seed, "pseudobulk")
    models = spec.candidates()
    varies = [by_chance(planner.registry, offered.offer, model) for model in models]
    seeds = planner.recipe.training_seeds

    def score(attempt: Attempt) -> Attempt:
        scores = plan_scores(planner, task, seed, split, attempt.prediction, attempt.label, scorers)
        return replace(attempt, scores=scores, half=half_scores(planner, attempt, scorers))

    for training_seed in seeds[: None if any(varies) else 1]:
        candidates = []
        for model, vary in zip(models, varies, strict=True):
            model_seed = training_seed if vary else seeds[0]
            planned = _plan_candidate(planner, task, seed, model_seed, model, offered, split, selecting)
            candidates.append(replace(planned, params=_shown_params(planner.registry, model, spec)))
        position = len(planner.plan.attempts)
        planner.plan.selections.append(Selection(position, scorer.name, metric, tuple(candidates), score))
        add_attempt(
            planner, task, seed, training_seed, offered.plugin.ref.name, shown, split, uses_validation=True,
            constant=offered.offer.constant, copies_training=offered.offer.copies_training,
            oracle=has_oracle(offered.offer),
        )  # fmt: skip


def _plan_candidate(
    planner: Planner, task: Task, seed: int, training_seed: int, model: ModelSpec, offered: Offered[ModelOffer],
    split: str, selecting: Scorers,
) -> Candidate:  # fmt: skip
    """Add the jobs that fit a candidate and score it on val; its parameters are left to the caller."""
    if reason := why_not_planned(planner, task, model, offered.offer):
        return Candidate("", reason=reason)
    options = model_options(planner, tuple(dict.fromkeys((*task.score_on, "val"))))
    prediction = plan_prediction(planner, task, seed, training_seed, model, offered, split, options, selects=True)
    label = f"{shown_model(planner.registry, model).text()} on val"
    [val_scores] = plan_scores(planner, _val_of(planner, task), seed, split, prediction, label, selecting).values()
    return Candidate("", prediction, val_scores)


def _val_of(planner: Planner, task: Task) -> Task:
    """Return the task of scoring val alone, made once for each task."""
    key = ("val", id(task))
    if key not in planner.score_jobs:
        planner.score_jobs[key] = task, task.model_copy(update={"score_on": ("val",)})
    val_task: Task = planner.score_jobs[key][1]
    return val_task


def _shown_params(registry: Registry, model: ModelSpec, grid: ModelSpec) -> str:
    """Return the parameters of a candidate as text: those of the grid, also where they are defaults, and others."""
    shown, offered = shown_model(registry, model), find_model(registry, model)
    of_grid = {key: model.params[key] for key in grid.grid if key in model.params}
    of_grid = shown_files(offered.offer, of_grid) if offered else of_grid
    return params_text(replace(shown, slots=shown_slots(registry, model), params=shown.params | of_grid))


def _check_val(task: Task, spec: ModelSpec) -> None:
    """Refuse a split file without val; splits that are drawn are known only once the data is loaded."""
    if task.split.file is None:
        return
    try:
        is_empty = json.loads(task.split.file.read_text(encoding="utf-8")).get("val") == []
    except (OSError, ValueError, AttributeError):
        return  # the job that reads the split tells what is wrong with it
    if is_empty:
        raise RecipeError(
            f"task {task.name!r}: the grid {spec.text()!r} selects on val, and the split {str(task.split.file)!r} has "
            "no perturbations in val; move some of train there, or name one model, such as "
            f"{spec.candidates()[0].text()!r}"
        )


def _check_tables(planner: Planner) -> None:
    """Refuse a scorer whose table would replace that of the selections."""
    for name, offer in planner.plan.scorers.items():
        if any(table.name == SELECTION for table in offer.tables):
            raise RecipeError(
                f"the scorer {name!r} leaves a table {SELECTION!r}, the name of the table of a grid's selections; "
                "leave out the scorer or the grid"
            )
