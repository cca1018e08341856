"""A run from plan to report, for all commands and functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from pertharness.contract.errors import ChoiceError, DataError, RecipeError
from pertharness.contract.options import kind_of_prediction
from pertharness.host.execution.executor import Executor
from pertharness.host.execution.runner import Observer, Runner
from pertharness.host.join.memory import read_memory
from pertharness.host.join.outputs import Board, write_outputs
from pertharness.host.plan import Plan, plan_common_genes, plan_selected
from pertharness.host.plugins.registry import Registry
from pertharness.host.recipe import Recipe, write_recipe
from pertharness.host.run.manifest import make_manifest
from pertharness.host.store.in_use import Use, use_records
from pertharness.host.store.records import Store

BAD = ("failed", "invalid", "timeout", "crashed")


@dataclass(frozen=True)
class Finished:
    """The result of a run.

    Attributes
    ----------
    board
        The leaderboard.
    counts
        State -> number of jobs.
    fresh
        Number of jobs that were carried out in this run; the others were in the store.
    """

    folder: Path
    board: Board
    counts: Counter[str]
    fresh: int
    undecided: bool = False
    """Whether a dataset was not loaded because its file needs a choice by the user."""

    @property
    def failed(self) -> bool:
        """Whether some record failed."""
        return any(self.counts[state] for state in BAD)


def carry_out(
    recipe: Recipe, registry: Registry, store: Store, plan: Plan, folder: Path, *, executor: Executor,
    retry: frozenset[str], observer: Observer | None, command: Sequence[str], files_first: bool = False,
) -> Finished:  # fmt: skip
    """Do the jobs of a plan and write the run's folder.

    The folder's files are written whole or not at all; the old ones stay until the new ones are complete. Records that
    the run relies on are in use until then.

    Parameters
    ----------
    executor
        What the jobs run on.
    files_first
        Read the files of predictions before anything else is done but what they need, and end if one cannot be used.

    Raises
    ------
    RecipeError
        With `files_first`, why a file cannot be used.
    """
    with use_records(store, plan.nodes) as use:
        return _carry_out(
            recipe, registry, store, plan, folder, executor=executor, retry=retry, observer=observer, command=command,
            use=use, files_first=files_first,
        )  # fmt: skip


def _carry_out(
    recipe: Recipe, registry: Registry, store: Store, plan: Plan, folder: Path, *, executor: Executor,
    retry: frozenset[str], observer: Observer | None, command: Sequence[str], use: Use, files_first: bool,
) -> Finished:  # fmt: skip
    started = datetime.now(timezone.utc)
    sources = [path for node in plan.nodes.values() for role, path in node.job.inputs.items() if role == "source"]
    guarded = (folder.absolute(), *dict.fromkeys(sources))
    runner = Runner(store, executor, retry=retry, observer=observer, guarded=guarded)
    if files_first:
        _read_files(plan, runner)
    write_recipe(recipe, folder / "recipe.toml")
    memory = read_memory(folder)
    to_do = [node for key, node in plan.nodes.items() if key not in runner.outcomes]
    outcomes = runner.run(to_do)
    later = [*plan_selected(plan, outcomes, store), *plan_common_genes(plan, outcomes, store, memory.lacking)]
    use.add(node.key for node in later)
    if later and observer:
        observer.planned(len(later))
    outcomes = runner.run(later)
    manifest = make_manifest(recipe, registry, store, plan, outcomes, command, started)
    board = write_outputs(recipe, plan, outcomes, store, folder, manifest, memory)
    counts: Counter[str] = Counter(outcome.state for outcome in outcomes.values())
    counts.update(attempt.state for attempt in plan.attempts if attempt.reason)
    fresh = sum(outcome.fresh and outcome.state == "done" for outcome in outcomes.values())
    undecided = any(outcome.status and outcome.status.type == ChoiceError.__name__ for outcome in outcomes.values())
    return Finished(folder, board, counts, fresh, undecided)


def _read_files(plan: Plan, runner: Runner) -> None:
    """Carry out the jobs that read files of predictions, and those they need, before all others.

    Raises
    ------
    RecipeError
        If such a file cannot be used. What goes wrong otherwise becomes a record like any other.
    """
    predictions = {key: node.job for key, node in plan.nodes.items() if node.stage == "predictions"}
    external = [key for key, job in predictions.items() if kind_of_prediction(job) == "external"]
    first: set[str] = set()
    waiting = [*external]
    while waiting:
        key = waiting.pop()
        if key not in first:
            first.add(key)
            waiting += plan.nodes[key].needs
    outcomes = runner.run([node for key, node in plan.nodes.items() if key in first])
    for key in external:
        status = outcomes[key].status
        if status is not None and status.type == DataError.__name__:
            raise RecipeError(f"predictions {plan.nodes[key].job.name!r}: {status.message}")
