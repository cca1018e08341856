"""A run from recipe to report: the one path that every command takes."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness import __version__
from pertharness.errors import FetchError, RecipeError
from pertharness.files import sha256_file, write_text
from pertharness.host.execution.runner import Observer, Runner
from pertharness.host.hardware import find_gpus
from pertharness.host.in_use import Use, use_records
from pertharness.host.nodes import Outcome
from pertharness.host.plan import Plan, Source, build_plan, half_plan, plan_common_genes, primary_metric
from pertharness.host.recipe import Recipe, write_recipe
from pertharness.host.registry import Registry, look_up
from pertharness.host.store import Store
from pertharness.host.sums import sum_of_artefacts, write_manifest

if TYPE_CHECKING:
    import pandas as pd

    from pertharness.host.leaderboard.settings import Comparison
    from pertharness.host.leaderboard.tables import Note, Table

MANIFEST_FORMAT = 1
BAD = ("failed", "invalid", "timeout", "crashed")


@dataclass(frozen=True)
class Finished:
    """What a run gave.

    Attributes
    ----------
    tables
        What the leaderboard shows.
    counts
        State -> number of jobs.
    fresh
        Number of jobs that were carried out in this run; the others were in the store.
    notes
        What the leaderboard says beside its tables.
    """

    folder: Path
    tables: list[Table]
    leaderboard: pd.DataFrame
    counts: Counter[str]
    fresh: int
    notes: list[Note]

    @property
    def failed(self) -> bool:
        """Whether some record failed."""
        return any(self.counts[state] for state in BAD)


def find_sources(recipe: Recipe, registry: Registry, fetch: Callable[[str, Any], Path]) -> dict[str, Source]:
    """Give the file of each dataset of a recipe; what has to be fetched is fetched.

    Raises
    ------
    RecipeError
        If a dataset that needs a file names none, or the file is not there.
    """
    sources = {}
    for name, entry in recipe.datasets.items():
        offered = look_up(registry.datasets, entry.offer)
        if entry.file is not None:
            if not entry.file.is_file():
                what = f"there is no file {str(entry.file)!r}" + (", it is a folder" if entry.file.is_dir() else "")
                known = look_up(registry.datasets, entry.file.name) is not None
                hint = f"; a recipe with [datasets.{entry.file.name}] means the dataset on offer" if known else ""
                raise RecipeError(f"dataset {name!r}: {what}; expected an h5ad file{hint}")
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
    recipe: Recipe, registry: Registry, store: Store, plan: Plan, folder: Path, *, slots: int,
    retry: frozenset[str], observer: Observer | None, command: list[str],
) -> Finished:  # fmt: skip
    """Do the jobs of a plan and write the run's folder.

    The folder's files are written whole or not at all; the old ones stay until the new ones are complete. Records that
    the run relies on are in use until then.
    """
    with use_records(store, plan.nodes) as use:
        return _carry_out(
            recipe, registry, store, plan, folder, slots=slots, retry=retry, observer=observer, command=command, use=use
        )


def _carry_out(
    recipe: Recipe, registry: Registry, store: Store, plan: Plan, folder: Path, *, slots: int,
    retry: frozenset[str], observer: Observer | None, command: list[str], use: Use,
) -> Finished:  # fmt: skip
    started = datetime.now(timezone.utc)
    write_recipe(recipe, folder / "recipe.toml")
    gpus = find_gpus() if recipe.resources.device.startswith("cuda") else ()
    sources = [path for node in plan.nodes.values() for role, path in node.job.inputs.items() if role == "source"]
    runner = Runner(
        store, slots=slots, retry=retry, observer=observer, gpus=gpus, isolation=recipe.resources.isolation,
        guarded=(folder.absolute(), *dict.fromkeys(sources)),
    )  # fmt: skip
    common = plan_common_genes(plan, runner.run(plan.nodes.values()), store)
    use.add(node.key for node in common)
    if common and observer:
        observer.planned(len(common))
    outcomes = runner.run(common)
    manifest = _manifest(recipe, registry, store, plan, outcomes, command, started)
    leaderboard, tables, notes = _write_tables(recipe, plan, outcomes, store, folder, manifest)
    write_manifest(folder, manifest)
    counts: Counter[str] = Counter(outcome.state for outcome in outcomes.values())
    counts.update(attempt.state for attempt in plan.attempts if attempt.reason)
    fresh = sum(outcome.fresh and outcome.state == "done" for outcome in outcomes.values())
    return Finished(folder, tables, leaderboard, counts, fresh, notes)


def _write_tables(
    recipe: Recipe, plan: Plan, outcomes: Mapping[str, Outcome], store: Store, folder: Path, manifest: dict[str, Any]
) -> tuple[pd.DataFrame, list[Table], list[Note]]:
    """Write all that a run leaves; `manifest` is told of the tables beside the scores."""
    from pertharness.host import join, join_facts
    from pertharness.host.leaderboard import compare, pooled, settings, tables, tells, write
    from pertharness.host.report import write_report

    scores, metrics = join.join_scores(plan, outcomes, store), join.metrics_of(plan)
    costs = join.join_costs(plan, outcomes)
    write.write_scores(scores, folder / "scores.csv.gz")
    write.write_costs(costs, folder / "costs.csv")
    beside, curves = join.tables_of(plan, outcomes, store), pooled.average_curves(scores, metrics)
    manifest["tables"] = write.write_tables(beside, curves, folder / "tables")
    write_text(folder / "manifest.json", json.dumps(manifest, indent=1))
    said = recipe.comparison
    chosen = {"metric": primary_metric(plan, said.metric)}
    comparison = settings.Comparison(**{**said.model_dump(exclude={"calibrate"}), **chosen})
    skipped = join.skipped_scorers(plan, outcomes)
    leaderboard = compare.build_leaderboard(
        join.without_skipped(scores, plan, skipped), metrics, join.settings_of(plan), comparison,
        join.strata_of(plan, store), join.reasons(plan, outcomes),
    )  # fmt: skip
    leaderboard = _with_positions(leaderboard, recipe, plan, outcomes, store, folder, comparison)
    facts = join_facts.join_facts(plan, outcomes, store)
    leaderboard = tells.add_tells(leaderboard, facts)
    shown = tables.make_tables(leaderboard, metrics, join.settings_of(plan), comparison, write.summarise_costs(costs))
    notes = [*tables.not_scored(skipped), *tells.make_notes(leaderboard, facts, metrics)]
    write.write_leaderboard(leaderboard, folder, shown, notes)
    write_report(shown, manifest, folder / "report", notes=notes)
    return leaderboard, shown, notes


def _with_positions(
    leaderboard: pd.DataFrame, recipe: Recipe, plan: Plan, outcomes: Mapping[str, Outcome], store: Store, folder: Path,
    comparison: Comparison,
) -> pd.DataFrame:  # fmt: skip
    """Add positions if the recipe says so, and write the scores against the second half that they are made of."""
    import pandas as pd

    from pertharness.host import join
    from pertharness.host.leaderboard import calibrate, write

    (folder / "scores_half.csv.gz").unlink(missing_ok=True)
    half = half_plan(plan)
    scores = join.join_scores(half, outcomes, store) if recipe.comparison.calibrate else pd.DataFrame()
    if len(scores):
        write.write_scores(scores, folder / "scores_half.csv.gz")
    return calibrate.add_positions(
        leaderboard, scores, join.metrics_of(plan), join.settings_of(plan), comparison, join.strata_of(plan, store),
        join.reasons(half, outcomes),
    )  # fmt: skip


def plan_run(recipe: Recipe, registry: Registry, store: Store, fetch: Callable[[str, Any], Path]) -> Plan:
    """Give the plan of a recipe, its datasets' files found or fetched."""
    try:
        return build_plan(recipe, registry, store, find_sources(recipe, registry, fetch))
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
            "artefacts": sum_of_artefacts(outcomes[key].status),
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
            "environment_folder": one.place, "packages": dict(one.packages),
        }
        for name, one in registry.plugins.items()
    }  # fmt: skip
    return {
        "format": MANIFEST_FORMAT, "name": recipe.name, "pertharness": __version__, "python": platform.python_version(),
        "platform": platform.platform(), "cores": os.cpu_count(), "command": command, "store": str(store.root),
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "plugins": plugins,
        "problems": [{"plugin": p.plugin, "state": p.state, "message": p.message} for p in registry.problems],
        "notes": plan.notes, "datasets": plan.datasets, "attempts": attempts, "records": records,
        "executable": sys.executable,
    }  # fmt: skip
