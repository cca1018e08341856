"""``pertharness run``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pertharness.host.cli.option_groups import GroupedCommand, headed
from pertharness.host.cli.shared_options import (
    FILE,
    calibrate_option,
    data_options,
    data_params,
    loudness,
    output_options,
    running_options,
    running_resources,
    store_option,
)
from pertharness.host.cli.streams import echo, echo_rendered

if TYPE_CHECKING:
    from pertharness.host.execution.nodes import Node, Outcome
    from pertharness.host.plan import Plan
    from pertharness.host.plugins.registry import Registry
    from pertharness.host.recipe import Recipe
    from pertharness.host.run.recipes import Choices
    from pertharness.host.run.session import Finished
    from pertharness.host.store.records import Store


@click.command(cls=GroupedCommand, short_help="Run a recipe, or every installed model, and write the leaderboard.")
@click.argument("recipe", type=FILE, required=False)
@headed(
    "Data and models",
    click.option(
        "--all",
        "everything",
        is_flag=True,
        help="Run every installed model, on the demo data or on --data; the default without RECIPE.",
    ),
    click.option("--data", "files", type=FILE, multiple=True, help="A screen as h5ad; repeatable."),
    click.option(
        "--task",
        "tasks",
        multiple=True,
        type=click.Choice(["double", "single"]),
        help="Held-out doubles or unseen singles; repeatable.",
    ),
    click.option("--demo", is_flag=True, help="Use the embedded demo data instead of the datasets of RECIPE."),
    click.option("--seeds", help="Split seeds: 1-5 or 1,3,7."),
    click.option("--models", help="Models, comma-separated: no_change,linear[k=4]."),
    click.option("--scorers", help="Scorers, comma-separated."),
    click.option("--split", type=FILE, help="Use the split in this JSON file instead of drawing splits."),
    calibrate_option,
)
@data_options
@headed(
    "Output",
    click.option("--name", help="Name of the run (default: the recipe's, or the data's)."),
    click.option("--out", type=FILE, help="Folder of the run (default: runs/NAME)."),
)
@output_options
@headed(
    "Running",
    click.option("--dry-run", is_flag=True, help="Show the plan and what the store already has, and stop."),
    click.option("--build", is_flag=True, help="Build the environments that are missing, broken or outdated."),
    click.option(
        "--keep-models", is_flag=True, help="Keep each fitted model in its record, for predict --model-record."
    ),
    click.option("--no-oracle", is_flag=True, help="Skip models that are given observed values of held-out cells."),
)
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
    **options: Any,
) -> None:
    """Run RECIPE (TOML), or else every installed model on the demo data, and write the leaderboard to runs/NAME/.

    RECIPE is a file, or the name of a recipe from a plugin, such as ahlmann-eltze-2025-double. Results in the store are
    reused; the same command resumes an interrupted run.
    Exit status: 0 all done or skipped, 1 something failed, 2 a usage or recipe error.
    """
    if recipe is not None and (everything or options["files"] or options["split"] or options["tasks"]):
        raise click.UsageError(
            "a recipe names its own data, tasks and splits: leave out --all, --data, --task and --split"
        )
    if recipe is not None and recipe.suffix == ".h5ad":
        raise click.UsageError(f"a recipe is a TOML file; for a screen, run: pertharness run --all --data {recipe}")
    if options["split"] is not None and options["seeds"] is not None:
        raise click.UsageError("--split names one split, which has no other seeds: leave out --seeds")
    if recipe is None and options["demo"]:
        raise click.UsageError("--demo is for a recipe; --all runs on the demo data unless --data names others")
    loud = loudness(options)
    chosen = choices_of(options, data=options["files"], tasks=options["tasks"], split=options["split"])
    named = options["models"] is not None
    end_run(carry_out_run(choose(recipe, chosen), store, out, retry, named=named, dry_run=dry_run, build=build, **loud))


def choices_of(options: dict[str, Any], **more: Any) -> Choices:
    """Return the choices that the options of a command make, beside a recipe or in its place."""
    from pertharness.host.run.recipes import Choices

    names = ("demo", "name", "seeds", "models", "scorers", "calibrate", "keep_models", "no_oracle")
    chosen = {name: options[name] for name in names if options.get(name) is not None}
    return Choices(params=data_params(options), resources=running_resources(options), **chosen, **more)


def choose(recipe: Path | None, choices: Choices) -> Recipe:
    """Return the recipe that a command is to carry out."""
    from pertharness.host.run.recipes import choose_recipe

    return choose_recipe(recipe, choices)


def carry_out_run(
    recipe: Recipe, store: Path | None, out: Path | None, retry: tuple[str, ...], *, named: bool = False,
    dry_run: bool = False, build: bool = False, files_first: bool = False, verbose: bool = False, quiet: bool = False,
) -> Finished | None:  # fmt: skip
    """Plan, run and print; return the finished run, None for a dry run.

    `named`: the models were named on the command line. `files_first`: files of predictions are read before all else.
    """
    from pertharness.host.cli.reporter import CommandReporter
    from pertharness.host.run.prepare import prepare
    from pertharness.host.run.recipes import run_name
    from pertharness.host.run.run_folder import check_output
    from pertharness.host.store.records import Store

    reporter = CommandReporter(verbose=verbose, quiet=quiet)
    prepared = prepare(recipe, Store.open(store), reporter, named=named, build=build)
    if dry_run:
        print_plan(prepared.plan, prepared.store, frozenset(retry))
        return None
    folder = check_output(out or Path("runs") / run_name(recipe), is_file=False)
    finished = prepared.carry_out(folder, reporter, retry=retry, command=sys.argv[1:], files_first=files_first)
    print_finished(finished, prepared.registry, verbose=verbose)
    return finished


def end_run(*finished: Finished | None) -> None:
    """Exit 2 if a dataset's file needs a choice by the user, else 1 if something failed in one of the runs."""
    ended = [run for run in finished if run is not None]
    if any(run.undecided for run in ended):
        sys.exit(2)
    if any(run.failed for run in ended):
        sys.exit(1)


def print_plan(plan: Plan, store: Store, retry: frozenset[str]) -> None:
    """Print every job with its state in the store, and those that will score what is chosen of a grid."""
    from pertharness.host.plan import foresee_selected

    outcomes: dict[str, Outcome] = {}
    states: dict[str, str] = {}
    _print_nodes(plan, store, retry, outcomes, states)
    later = foresee_selected(plan, outcomes, store)
    _print_nodes(plan, store, retry, outcomes, states)
    foreseen = []
    for title, candidates in later:
        ends = [states[each.val_scores] if each.val_scores else each.state for each in candidates]
        foreseen.append("to do" if {"to do", "done"} & {*ends} else ends[0])
        echo(f"{'':12}  {foreseen[-1]:8}  {title}: of the candidate that is chosen on val")
    for attempt in plan.attempts:
        if attempt.reason:
            title = f"{attempt.label} on {attempt.dataset} {attempt.task.name}"
            echo(f"{'':12}  {attempt.state:8}  {title}: {attempt.reason}")
    to_do = [*states.values(), *foreseen].count("to do")
    echo(f"{len(states) + len(foreseen)} jobs, {to_do} to do; the others are in the store or cannot be done here")


def _print_nodes(
    plan: Plan, store: Store, retry: frozenset[str], outcomes: dict[str, Outcome], states: dict[str, str]
) -> None:
    """Print the jobs that have no state yet, adding their states, and how those in the store ended."""
    from pertharness.host.execution.nodes import Outcome
    from pertharness.host.execution.runner import lacks_model

    for key, node in plan.nodes.items():
        if key in states:
            continue
        status = store.status(node.stage, key)
        foreseen = foresee(node, [states[need] for need in node.needs])
        is_redone = lacks_model(node, status, store.record(node.stage, key)) and foreseen == "to do"
        if status is not None and status.state not in retry and not is_redone:
            outcomes[key] = Outcome(status.state, status.message, status)
            states[key] = status.state
        else:
            states[key] = foreseen
        echo(f"{key[:12]}  {states[key]:8}  {node.title}")


def foresee(node: Node, needs: list[str]) -> str:
    """Return how a job that is not in the store will end, as far as the states of its inputs determine it."""
    if "to do" in needs:
        return "to do"
    if needs and set(needs) != {"done"}:
        return next(state for state in needs if state != "done")
    return "skipped" if node.preflight and node.preflight() else "to do"


def print_finished(finished: Finished, registry: Registry, *, verbose: bool = False) -> None:
    """Print the leaderboard, the failures, and the paths of the files."""
    from rich.console import Console

    from pertharness.host.run.prepare import describe_problem

    echo_rendered(finished.board.text(Console(), verbose=verbose))
    for problem in registry.problems:
        echo(describe_problem(problem))
    counts = ", ".join(f"{number} {state}" for state, number in sorted(finished.counts.items()) if number)
    echo(f"jobs: {counts}; {finished.fresh} of them done now, the others were in the store")
    more = "" if verbose else f"; more metrics: pertharness tables {finished.folder}, or -v"
    echo(f"written to {finished.folder}{os.sep} (leaderboard.csv, scores.csv.gz, report{os.sep}index.html, ...){more}")
