"""The plan: the jobs of a recipe with their keys, all known before any of them runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from pertharness.contract.errors import RecipeError
from pertharness.host.execution.executor import Executor
from pertharness.host.leaderboard.comparison import has_test_weights
from pertharness.host.plan.calibration import half_plan, plan_calibration
from pertharness.host.plan.common_genes import plan_common_genes
from pertharness.host.plan.data_jobs import plan_dataset, plan_split
from pertharness.host.plan.grid_jobs import SELECTION, plan_grid
from pertharness.host.plan.metric_choice import primary_metric
from pertharness.host.plan.plan import Attempt, Candidate, Plan, Selection, Source
from pertharness.host.plan.planner import Planner, add_attempt
from pertharness.host.plan.prediction_jobs import (
    find_model,
    label_of,
    name_of,
    plan_file,
    plan_model,
    shown_model,
)
from pertharness.host.plan.score_jobs import is_for, plan_scorers
from pertharness.host.plan.selection import foresee_selected, plan_selected
from pertharness.host.plugins.registry import Registry
from pertharness.host.recipe import ModelSpec, Recipe, parse_model
from pertharness.host.recipe import TaskChoice as Task
from pertharness.host.store.records import Store
from pertharness.host.text.did_you_mean import expected

USUAL_REFERENCES = ("additive", "mean")
"""References of a recipe that names none. If no plugin offers them there is no verdict, and a note says so."""

__all__ = [
    "SELECTION", "Attempt", "Candidate", "Plan", "Selection", "Source", "build_plan", "find_model",
    "foresee_selected", "half_plan",
    "is_for", "plan_common_genes", "plan_selected", "primary_metric", "tasks_of",
]  # fmt: skip


def build_plan(
    recipe: Recipe, registry: Registry, store: Store, sources: Mapping[str, Source], executor: Executor
) -> Plan:
    """Return the plan of a recipe.

    Parameters
    ----------
    recipe
        Datasets, tasks, models and scorers to plan for.
    registry
        Installed plugins and their offers.
    store
        Store of the records. Only paths are taken from it: the plan does not depend on its content.
    sources
        Dataset name -> its file.
    executor
        What the jobs will run on: it is asked for the hardware that they can have.

    Raises
    ------
    RecipeError
        If a dataset, scorer or parameter is not available.
    """
    planner = Planner(recipe, registry, store, executor, Plan())
    for name in recipe.datasets:
        planner.plan.datasets[name] = plan_dataset(planner, name, sources.get(name, Source()))
    scorers = plan_scorers(planner)
    left_out = {shown.text(): (shown, reason) for shown, reason in _left_out(recipe, registry)}
    specs = recipe.models or tuple(parse_model(name) for name in registry.models if name not in left_out)
    for entry in recipe.predictions:
        if entry.name in {name_of(registry, spec) for spec in specs}:
            raise RecipeError(f"predictions {entry.name!r}: a model of this run has the same name; choose another one")
    for task in [_with_labels(registry, task) for task in tasks_of(recipe)]:
        for seed in recipe.seeds if task.split.file is None else (0,):
            for spec in specs:
                (plan_grid if spec.grid else plan_model)(planner, task, seed, spec, scorers)
            for entry in recipe.predictions:
                if entry.dataset == task.dataset:
                    plan_file(planner, task, seed, entry, scorers)
            _plan_left_out(planner, task, seed, left_out.values())
            _plan_problems(planner, task, seed)
    plan_calibration(planner, scorers)
    _check_names(planner)
    return planner.plan


def _check_names(planner: Planner) -> None:
    """Raise `RecipeError` for duplicate models and for comparisons with unknown models."""
    primary_metric(planner.plan, planner.recipe.comparison.metric)
    attempts = planner.plan.attempts
    counts = Counter((a.dataset, a.task.name, a.seed, a.training_seed, a.label) for a in attempts)
    duplicates = [attempt[-1] for attempt, number in counts.items() if number > 1]
    if duplicates:
        raise RecipeError(
            f"models: duplicate model {duplicates[0]!r}: two spellings of one model, or two tasks of the same name, "
            "or two grids over the same parameters, or with two files of the same name; name each once"
        )
    names = {attempt.label for attempt in attempts} | {entry.name for entry in planner.recipe.predictions}
    names |= set(planner.registry.models)
    for task in {attempt.task.name: attempt.task for attempt in attempts}.values():
        for name in (task.reference, *task.common_set):
            if name not in {"", *USUAL_REFERENCES} | names and parse_model(name).name not in names:
                raise RecipeError(f"task {task.name!r} compares with {name!r}; {expected(name, sorted(names))}")


def tasks_of(recipe: Recipe) -> list[Task]:
    """Return the tasks of a recipe, each with its dataset; a task that names none is planned for every dataset."""
    return [
        task.model_copy(update={"dataset": name})
        for task in recipe.tasks
        for name in ([task.dataset] if task.dataset else recipe.datasets)
    ]


def _with_labels(registry: Registry, task: Task) -> Task:
    """Return a task with its reference and common set named as on the leaderboard."""
    for name in (task.reference, *task.common_set):
        if name and has_test_weights(shown_model(registry, parse_model(name)).name):
            raise RecipeError(
                f"task {task.name!r} compares with {name!r}, whose weights are not the published ones; expected "
                "another model as reference and in common_set"
            )
    common_set = tuple(label_of(registry, parse_model(name)) for name in task.common_set)
    reference = label_of(registry, parse_model(task.reference)) if task.reference else ""
    return task.model_copy(update={"reference": reference, "common_set": common_set})


def _left_out(recipe: Recipe, registry: Registry) -> list[tuple[ModelSpec, str]]:
    """Return the models that a recipe leaves out, as the leaderboard shows them, with the reasons."""
    return [(shown_model(registry, parse_model(name)), reason) for name, reason in recipe.left_out.items()]


def _plan_left_out(planner: Planner, task: Task, seed: int, reasons: Iterable[tuple[ModelSpec, str]]) -> None:
    """Add attempts with the reason for models that the recipe leaves out, so that the leaderboard lists them."""
    for shown, reason in reasons:
        split = plan_split(planner, task, seed, "pseudobulk")
        add_attempt(planner, task, seed, 1, "", shown, split, reason=f"left out: {reason}")


def _plan_problems(planner: Planner, task: Task, seed: int) -> None:
    """Add attempts for plugins that cannot be used, in a recipe that asks for every installed model."""
    for problem in planner.registry.problems if planner.recipe.models is None else ():
        split = plan_split(planner, task, seed, "pseudobulk")
        spec = ModelSpec(None, problem.plugin)
        add_attempt(planner, task, seed, 1, problem.plugin, spec, split, reason=problem.message, state=problem.state)
