"""From a recipe to the start of a run: the store, the plugins and the plan."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pertharness.contract.errors import RecipeError
from pertharness.host.environments.folder import open_folder
from pertharness.host.execution.executor import Executor
from pertharness.host.execution.local import local_executor
from pertharness.host.plan import Plan, build_plan, find_model
from pertharness.host.plan.embedding_jobs import not_installed
from pertharness.host.plugins.registry import Problem, Registry, open_registry
from pertharness.host.plugins.wanted import build_wanted, missing_plugins, named_interpreters, try_build
from pertharness.host.recipe import Recipe
from pertharness.host.run.reporter import Reporter, fetch_reported
from pertharness.host.run.session import Finished, carry_out
from pertharness.host.run.sources import Fetch, find_sources
from pertharness.host.store.records import Store
from pertharness.host.text.did_you_mean import expected


@dataclass(frozen=True)
class Prepared:
    """A prepared run, which can be shown and started."""

    recipe: Recipe
    store: Store
    registry: Registry
    executor: Executor
    plan: Plan

    def carry_out(
        self, folder: Path, reporter: Reporter, *, retry: Sequence[str] = (), command: Sequence[str] = (),
        files_first: bool = False,
    ) -> Finished:  # fmt: skip
        """Do the jobs and write the run's folder; see `pertharness.host.run.session.carry_out`."""
        with reporter.jobs(len(self.plan.nodes)) as observer:
            return carry_out(
                self.recipe, self.registry, self.store, self.plan, folder, executor=self.executor,
                retry=frozenset(retry), observer=observer, command=command, files_first=files_first,
            )  # fmt: skip


def prepare(recipe: Recipe, store: Store, reporter: Reporter, *, named: bool = False, build: bool = False) -> Prepared:
    """Open the plugins for a recipe, find or fetch its data, and plan it; no model runs yet.

    Parameters
    ----------
    named
        The caller named the models: one that nobody offers is an error.
    build
        Build the environments that are missing, broken or outdated.

    Raises
    ------
    RecipeError
        If a dataset, model, scorer or parameter is not available.
    """
    executor = make_executor(recipe, store)
    registry = open_plugins(recipe, reporter, build=build, executor=executor)
    if named:
        check_installed(recipe, registry)
    plan = plan_run(recipe, registry, store, executor, lambda name, source: fetch_reported(name, source, reporter))
    for note in plan.notes:
        reporter.note(note)
    return Prepared(recipe, store, registry, executor, plan)


def open_plugins(
    recipe: Recipe, reporter: Reporter, *, build: bool = False, executor: Executor | None = None
) -> Registry:
    """Return the plugins for a recipe.

    `build`: after building its environments, and those of models not on offer, for the hardware of the executor.
    """
    isolation = recipe.resources.isolation
    named, problems = named_interpreters(recipe)
    if not build:
        return open_registry(named, problems, every_file=True, isolation=isolation)
    folder = open_folder()
    problems += build_wanted(recipe, folder, reporter.note, executor)
    registry = open_registry(named, problems, every_file=True, isolation=isolation)
    if missing := missing_plugins(recipe, registry):
        built = [try_build(name, name, folder, reporter.note, executor, guessed=True) for name in missing]
        problems += [problem for problem in built if problem]
        registry = open_registry(named, problems, every_file=True, isolation=isolation)
    return registry


def make_executor(recipe: Recipe, store: Store) -> Executor:
    """Return the executor of the jobs of a recipe, with the limits that it sets.

    Raises
    ------
    RecipeError
        If the isolation that it asks for is not available there.
    """
    resources = recipe.resources
    slots = resources.jobs or max(1, (os.cpu_count() or 1) // resources.threads)
    return local_executor(store.root, slots=slots, isolation=resources.isolation)


def plan_run(recipe: Recipe, registry: Registry, store: Store, executor: Executor, fetch: Fetch) -> Plan:
    """Return the plan of a recipe, with the files of its datasets found or fetched.

    Raises
    ------
    RecipeError
        If a dataset, scorer or parameter is not available.
    """
    try:
        return build_plan(recipe, registry, store, find_sources(recipe, registry, fetch), executor)
    except RecipeError as error:  # a plugin that cannot be used may have offered it
        raise RecipeError("; ".join([str(error), *map(describe_problem, registry.problems)])) from None


def describe_problem(problem: Problem) -> str:
    """Return the line that reports a plugin that cannot be used, with the reason."""
    return f"plugin {problem.plugin!r} cannot be used ({problem.state}): {problem.message}"


def check_installed(recipe: Recipe, registry: Registry) -> None:
    """Raise an error for models that no plugin offers; those of a recipe are shown as not installed instead.

    Raises
    ------
    RecipeError
        With what may have been meant, and the plugins that cannot be used.
    """
    for spec in recipe.models or ():
        absent = not_installed(registry, spec, expected)
        if absent or find_model(registry, spec) is None:
            parts = [f"there is no model {spec.text()!r}", expected(spec.name, registry.models)]
            if absent:
                parts = [f"{spec.text()!r}: there is no {absent}"]
            parts += [f"plugin {problem.plugin!r} cannot be used: {problem.message}" for problem in registry.problems]
            raise RecipeError("; ".join(parts))
