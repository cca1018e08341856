"""A run from recipe to report: the one path that every command takes."""

from __future__ import annotations

import os
import platform
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pertharness.contract.errors import ChoiceError, DataError, FetchError, RecipeError
from pertharness.contract.options import kind_of_prediction
from pertharness.data.containers import is_zarr
from pertharness.files.whole import sha256_file
from pertharness.host.execution.executor import Executor
from pertharness.host.execution.local import local_executor
from pertharness.host.execution.nodes import Outcome
from pertharness.host.execution.runner import Observer, Runner
from pertharness.host.join.dataset_notes import notes_by_dataset, notes_by_file
from pertharness.host.join.left_out import left_out_by_dataset
from pertharness.host.join.memory import read_memory
from pertharness.host.join.outputs import Board, write_outputs
from pertharness.host.plan import Plan, Source, build_plan, plan_common_genes
from pertharness.host.plugins.registry import Registry, look_up
from pertharness.host.recipe import Recipe, write_recipe
from pertharness.host.store.in_use import Use, use_records
from pertharness.host.store.records import Store
from pertharness.host.store.sums import sums_of_record
from pertharness.version import __version__

MANIFEST_FORMAT = 1
BAD = ("failed", "invalid", "timeout", "crashed")


@dataclass(frozen=True)
class Finished:
    """What a run gave.

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
    """Whether a dataset was not loaded because its file leaves a choice to the user."""

    @property
    def failed(self) -> bool:
        """Whether some record failed."""
        return any(self.counts[state] for state in BAD)


def find_sources(recipe: Recipe, registry: Registry, fetch: Callable[[str, Any], Path]) -> dict[str, Source]:
    """Return the file of each dataset of a recipe; what has to be fetched is fetched.

    Raises
    ------
    RecipeError
        If a dataset that needs a file names none, or the file is not there.
    """
    sources = {}
    for name, entry in recipe.datasets.items():
        offered = look_up(registry.datasets, entry.offer)
        if entry.file is not None:
            if not entry.file.is_file() and not is_zarr(entry.file):
                what = f"there is no file {str(entry.file)!r}" + (", it is a folder" if entry.file.is_dir() else "")
                known = look_up(registry.datasets, entry.file.name) is not None
                hint = f"; a recipe with [datasets.{entry.file.name}] means the dataset on offer" if known else ""
                raise RecipeError(f"dataset {name!r}: {what}; expected an h5ad file or a zarr store{hint}")
            sources[name] = Source(entry.file.absolute(), sha256_file(entry.file))
        elif offered is not None and offered.offer.takes_file:
            raise RecipeError(
                f"dataset {name!r}: {entry.offer!r} reads a file; give --data FILE.h5ad, or file = in the recipe"
            )
        elif offered is not None and offered.offer.source is not None:
            try:
                path = fetch(entry.offer, offered.offer.source)
                sources[name] = Source(path, sha256_file(path))
            except FetchError as error:  # the others still run
                sources[name] = Source(problem=str(error))
    return sources


def carry_out(
    recipe: Recipe, registry: Registry, store: Store, plan: Plan, folder: Path, *, executor: Executor,
    retry: frozenset[str], observer: Observer | None, command: list[str], files_first: bool = False,
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
    retry: frozenset[str], observer: Observer | None, command: list[str], use: Use, files_first: bool,
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
    common = plan_common_genes(plan, runner.run(to_do), store, memory.lacking)
    use.add(node.key for node in common)
    if common and observer:
        observer.planned(len(common))
    outcomes = runner.run(common)
    manifest = _manifest(recipe, registry, store, plan, outcomes, command, started)
    board = write_outputs(recipe, plan, outcomes, store, folder, manifest, memory)
    counts: Counter[str] = Counter(outcome.state for outcome in outcomes.values())
    counts.update(attempt.state for attempt in plan.attempts if attempt.reason)
    fresh = sum(outcome.fresh and outcome.state == "done" for outcome in outcomes.values())
    undecided = any(outcome.status and outcome.status.type == ChoiceError.__name__ for outcome in outcomes.values())
    return Finished(folder, board, counts, fresh, undecided)


def _read_files(plan: Plan, runner: Runner) -> None:
    """Do the jobs that read files of predictions, and what they need, before all others.

    Raises
    ------
    RecipeError
        If such a file cannot be used. What goes wrong otherwise becomes a record like any other.
    """
    predictions = {key: node.job for key, node in plan.nodes.items() if node.stage == "predictions"}
    wanted = [key for key, job in predictions.items() if kind_of_prediction(job) == "external"]
    first: set[str] = set()
    waiting = [*wanted]
    while waiting:
        key = waiting.pop()
        if key not in first:
            first.add(key)
            waiting += plan.nodes[key].needs
    outcomes = runner.run([node for key, node in plan.nodes.items() if key in first])
    for key in wanted:
        status = outcomes[key].status
        if status is not None and status.type == DataError.__name__:
            raise RecipeError(f"predictions {plan.nodes[key].job.name!r}: {status.message}")


def make_executor(recipe: Recipe, store: Store) -> Executor:
    """Return what the jobs of a recipe run on, with the limits that it sets.

    Raises
    ------
    RecipeError
        If the isolation that it asks for is not to be had there.
    """
    resources = recipe.resources
    slots = resources.jobs or max(1, (os.cpu_count() or 1) // resources.threads)
    return local_executor(store.root, slots=slots, isolation=resources.isolation)


def plan_run(
    recipe: Recipe, registry: Registry, store: Store, executor: Executor, fetch: Callable[[str, Any], Path]
) -> Plan:
    """Return the plan of a recipe, its datasets' files found or fetched."""
    try:
        return build_plan(recipe, registry, store, find_sources(recipe, registry, fetch), executor)
    except RecipeError as error:  # what is missed may be what a plugin that cannot be used would have offered
        told = [f"plugin {one.plugin!r} cannot be used ({one.state}): {one.message}" for one in registry.problems]
        raise RecipeError("; ".join([str(error), *told])) from None


def _manifest(
    recipe: Recipe, registry: Registry, store: Store, plan: Plan, outcomes: Mapping[str, Outcome], command: list[str],
    started: datetime,
) -> dict[str, Any]:  # fmt: skip
    records = {
        key: {
            "stage": node.stage,
            "title": node.title,
            "state": outcomes[key].state,
            "message": outcomes[key].message,
            **sums_of_record(store.record(node.stage, key), outcomes[key].status),
        }
        for key, node in plan.nodes.items()
    }
    attempts = [
        {
            "dataset": a.dataset, "task": a.task.name, "seed": a.seed, "training_seed": a.training_seed,
            "plugin": a.plugin, "model": a.model, "params": a.params, "split": a.split, "prediction": a.prediction,
            "scores": a.scores, "common": a.common, "reason": a.reason, "state": a.state,
        }
        for a in [*plan.attempts, *plan.duplicates]
    ]  # fmt: skip
    plugins = {
        name: {
            **one.identity(), "python": str(one.python), "python_version": one.python_version,
            "environment_folder": one.folder, "packages": dict(one.packages),
        }
        for name, one in registry.plugins.items()
    }  # fmt: skip
    notes = notes_by_dataset(plan, outcomes)
    return {
        "format": MANIFEST_FORMAT, "name": recipe.name, "pertharness": __version__, "python": platform.python_version(),
        "platform": platform.platform(), "cores": os.cpu_count(), "command": command, "store": str(store.root),
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "plugins": plugins,
        "problems": [{"plugin": p.plugin, "state": p.state, "message": p.message} for p in registry.problems],
        "notes": plan.notes, "datasets": plan.datasets, "dataset_notes": notes,
        "prediction_notes": notes_by_file(plan, outcomes),
        "left_out": left_out_by_dataset(plan, outcomes, store, notes),
        "attempts": attempts, "records": records,
        "executable": sys.executable,
    }  # fmt: skip
