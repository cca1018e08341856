"""``pertharness run``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pertharness.host.cli.shared_options import (
    FILE,
    calibrate_option,
    data_options,
    data_params,
    running_options,
    running_resources,
    store_option,
)
from pertharness.host.cli.streams import echo, echo_rendered, error_console

if TYPE_CHECKING:
    from pertharness.host.run.session import Finished


@click.command(short_help="Run a recipe, or every installed model, and write the leaderboard.")
@click.argument("recipe", type=FILE, required=False)
@click.option(
    "--all", "everything", is_flag=True, help="Every installed model, on the demo data unless --data names others."
)
@click.option("--data", "files", type=FILE, multiple=True, help="A screen as h5ad; repeatable.")
@click.option(
    "--task",
    "tasks",
    multiple=True,
    type=click.Choice(["double", "single"]),
    help="Held-out doubles, unseen singles; repeatable.",
)
@click.option("--demo", is_flag=True, help="The embedded demo data in place of every dataset of RECIPE.")
@click.option("--seeds", help="Split seeds: 1-5 or 1,3,7.")
@click.option("--models", help="Models, comma-separated: no_change,linear[k=4].")
@click.option("--scorers", help="Scorers, comma-separated.")
@click.option("--split", type=FILE, help="A split's JSON in place of drawn splits.")
@calibrate_option
@click.option("--name", help="Name of the run (default: the recipe's, or the data's).")
@click.option("--out", type=FILE, help="Folder of the run (default: runs/NAME).")
@click.option("--build", is_flag=True, help="Build the environments that are missing, broken or outdated.")
@click.option("--dry-run", is_flag=True, help="Show the plan, with what is there already, and stop.")
@data_options
@running_options
@store_option
def run(
    recipe: Path | None,
    everything: bool,
    store: Path | None,
    out: Path | None,
    build: bool,
    dry_run: bool,
    retry: tuple[str, ...],
    **given: Any,
) -> None:
    """Run RECIPE (TOML), or with --all every installed model, score it and write the leaderboard to runs/NAME/.

    RECIPE is a file, or the name of a recipe that pertharness brings, such as ahlmann-eltze-2025-double.
    What is in the store already is not done again; a run that was stopped goes on where it stopped.
    Exit status: 0 all done or skipped, 1 something failed, 2 a usage or recipe error.
    """
    if recipe is None and not everything and not given["files"]:
        raise click.UsageError(
            "name a recipe, or say --all (every installed model on the demo data), or --data FILE.h5ad"
        )
    if recipe is not None and (everything or given["files"] or given["split"] or given["tasks"]):
        raise click.UsageError(
            "a recipe names its own data, tasks and splits: leave out --all, --data, --task and --split"
        )
    if recipe is not None and recipe.suffix == ".h5ad":
        raise click.UsageError(f"a recipe is a TOML file; for a screen say: pertharness run --all --data {recipe}")
    if given["split"] is not None and given["seeds"] is not None:
        raise click.UsageError("--split names one split, which has no other seeds: leave out --seeds")
    if recipe is None and given["demo"]:
        raise click.UsageError("--demo is for a recipe; --all runs on the demo data unless --data names others")
    wanted = make_recipe(recipe, given)
    end_run(carry_out_run(wanted, store, out, retry, named=given["models"] is not None, dry_run=dry_run, build=build))


def make_recipe(path: Path | None, given: dict[str, Any]) -> Any:
    """Return the recipe of a file or of the options, with what the options say otherwise."""
    from pertharness.host import recipe as recipes
    from pertharness.host.run.quick import quick_recipe

    params = data_params(given)
    resources = running_resources(given)
    if path is not None:
        recipe = recipes.read_recipe(recipe_file(path), must_exist=not given["demo"])
        recipes.check_not_empty(recipe, str(path))
        if given["demo"]:
            recipe = recipes.demo_recipe(recipe)
        if params:
            raise click.UsageError(
                f"a recipe says how its data are read: put {next(iter(params))} under params of the dataset"
            )
    else:
        recipe = quick_recipe(given["files"], tasks=given["tasks"], split=given["split"], params=params)
    read: dict[str, Callable[[str], Any]] = {
        "seeds": recipes.parse_seeds, "models": recipes.parse_models, "scorers": recipes.parse_models, "name": str,
    }  # fmt: skip
    said = {name: of_text(given[name]) for name, of_text in read.items() if given.get(name) is not None}
    data = recipe.model_dump(exclude_none=True)
    if given.get("calibrate"):
        data["comparison"]["calibrate"] = True
    if "models" in said:  # those that are not asked for this time cannot narrow what the others are compared on
        absent = {spec.text() for spec in recipe.models or ()} - {spec.text() for spec in said["models"]}
        for task in data["tasks"]:
            task["common_set"] = tuple(name for name in task["common_set"] if name not in absent)
    return recipes.make_recipe({**data, **said, "resources": {**data["resources"], **resources}})


def recipe_file(recipe: Path) -> Path:
    """Return the file of a recipe: the user's own, or else that which a plugin brings under this name."""
    from pertharness.host.plugins.registry import open_registry
    from pertharness.host.reproduce.benchmarks import find_recipe, is_name

    return find_recipe(open_registry(), str(recipe)) if is_name(recipe) else recipe


def carry_out_run(
    recipe: Any, store_path: Path | None, out: Path | None, retry: tuple[str, ...], *, named: bool = False,
    dry_run: bool = False, build: bool = False, files_first: bool = False,
) -> Finished | None:  # fmt: skip
    """Plan, run, print; give what came of it, None for a dry run.

    `named`: the models were named on the command line. `files_first`: files of predictions are read before all else.
    """
    from pertharness.host.cli.display import make_display
    from pertharness.host.cli.fetching import fetch_shown
    from pertharness.host.run.session import carry_out, make_executor, plan_run
    from pertharness.host.store.records import Store

    store = Store.open(store_path)
    registry = registry_of(recipe, build=build)
    if named:
        check_installed(recipe, registry)
    executor = make_executor(recipe, store)
    plan = plan_run(recipe, registry, store, executor, fetch_shown)
    for note in plan.notes:
        echo(note, err=True)
    console = error_console()
    if dry_run:
        print_plan(plan, store, frozenset(retry))
        return None
    folder = out or Path("runs") / run_name(recipe)
    with make_display(console, len(plan.nodes)) as display:
        finished = carry_out(
            recipe, registry, store, plan, folder, executor=executor, retry=frozenset(retry), observer=display,
            command=sys.argv[1:], files_first=files_first,
        )  # fmt: skip
    print_finished(finished, registry)
    return finished


def registry_of(recipe: Any, *, build: bool = False) -> Any:
    """Return the plugins for a recipe; `build`: after its environments, and those of models that nobody offers."""
    from pertharness.host.environments.folder import open_folder
    from pertharness.host.plugins.registry import open_registry
    from pertharness.host.plugins.wanted import build_wanted, missing_plugins, named_interpreters, try_build

    def say(line: str) -> None:
        echo(line, err=True)

    named, problems = named_interpreters(recipe)
    if not build:
        return open_registry(named, problems, every_file=True, isolation=recipe.resources.isolation)
    folder = open_folder()
    problems += build_wanted(recipe, folder, say)
    registry = open_registry(named, problems, every_file=True, isolation=recipe.resources.isolation)
    if missing := missing_plugins(recipe, registry):
        problems += [problem for name in missing if (problem := try_build(name, name, folder, say, guessed=True))]
        registry = open_registry(named, problems, every_file=True, isolation=recipe.resources.isolation)
    return registry


def end_run(*finished: Finished | None) -> None:
    """Exit 2 if the file of a dataset leaves a choice to the user, else 1 if something failed in one of the runs."""
    if any(one.undecided for one in finished if one is not None):
        sys.exit(2)
    if any(one.failed for one in finished if one is not None):
        sys.exit(1)


def check_installed(recipe: Any, registry: Any) -> None:
    """Refuse models that nobody offers: of a recipe they are shown as not installed, on a command line they are slips.

    Raises
    ------
    RecipeError
        With what may have been meant, and the plugins that cannot be used.
    """
    from pertharness.contract.errors import RecipeError
    from pertharness.host.plan import find_model
    from pertharness.host.plan.embedding_jobs import not_installed
    from pertharness.host.text.did_you_mean import expected

    for spec in recipe.models:
        absent = not_installed(registry, spec, expected)
        if absent or find_model(registry, spec) is None:
            said = [f"there is no model {spec.text()!r}", expected(spec.name, registry.models)]
            if absent:
                said = [f"{spec.text()!r}: there is no {absent}"]
            said += [f"plugin {one.plugin!r} cannot be used: {one.message}" for one in registry.problems]
            raise RecipeError("; ".join(said))


def run_name(recipe: Any) -> str:
    """Return the name of a run's folder: the recipe's, or that of its data."""
    return str(recipe.name or "-".join(recipe.datasets)[:80])


def print_plan(plan: Any, store: Any, retry: frozenset[str]) -> None:
    """Print every job with what the store has of it."""
    states: dict[str, str] = {}
    for key, node in plan.nodes.items():
        status = store.status(node.stage, key)
        kept = status.state if status is not None and status.state not in retry else ""
        states[key] = kept or foresee(node, [states[need] for need in node.needs])
        echo(f"{key[:12]}  {states[key]:8}  {node.title}")
    for attempt in plan.attempts:
        if attempt.reason:
            title = f"{attempt.label} on {attempt.dataset} {attempt.task.name}"
            echo(f"{'':12}  {attempt.state:8}  {title}: {attempt.reason}")
    to_do = sum(state == "to do" for state in states.values())
    echo(f"{len(plan.nodes)} jobs, {to_do} to do; the others are in the store or cannot be done here")


def foresee(node: Any, needs: list[str]) -> str:
    """Return how a job that is not in the store will fare, as far as what it needs is there to tell."""
    if "to do" in needs:
        return "to do"
    if needs and set(needs) != {"done"}:
        return next(state for state in needs if state != "done")
    return "skipped" if node.preflight and node.preflight() else "to do"


def print_finished(finished: Any, registry: Any) -> None:
    """Print the leaderboard, what went wrong, and where everything lies."""
    from rich.console import Console

    echo_rendered(finished.board.text(Console()))
    for problem in registry.problems:
        echo(f"plugin {problem.plugin!r} cannot be used ({problem.state}): {problem.message}")
    said = ", ".join(f"{number} {state}" for state, number in sorted(finished.counts.items()) if number)
    echo(f"jobs: {said}; {finished.fresh} of them done now, the others were in the store")
    echo(f"written to {finished.folder}{os.sep} (leaderboard.csv, scores.csv.gz, report{os.sep}index.html, ...)")
