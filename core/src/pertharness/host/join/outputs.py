"""Write the files of a run, joined from its records, unless their inputs are unchanged."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness.files.whole import sha256_file
from pertharness.host.execution.nodes import Outcome
from pertharness.host.join.memory import Memory, digest_of, write_memory
from pertharness.host.plan import SELECTION, Attempt, Plan, half_plan, primary_metric
from pertharness.host.recipe import Recipe
from pertharness.host.store.records import Store
from pertharness.host.store.sums import write_manifest

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from pertharness.host.leaderboard.comparison import Comparison

_HOST = Path(__file__).parents[1]
_SOURCES = tuple(_HOST / name for name in ("join", "leaderboard", "report", "text"))
_LIBRARIES = ("pertharness", "numpy", "pandas", "jinja2", "rich")
_OF_THIS_TIME = ("started", "finished", "command")
"""Entries of the manifest on when and how a run was started; they do not affect its files."""
_FILES = ("leaderboard.csv", "leaderboard.json", "leaderboard.md", "scores.csv.gz", "costs.csv", "report/index.html")
_HALF = "scores_half.csv.gz"


@dataclass(frozen=True)
class Board:
    """The leaderboard of a run as it is shown."""

    folder: Path
    memory: Memory

    def text(self, console: Console, *, verbose: bool = False) -> str:
        """Return the text for a terminal; with `verbose` all metrics and the costs."""
        kind = f"{console.width} {console.encoding} {console.color_system} {console.legacy_windows} {verbose}"
        if kind not in self.memory.printed:
            from pertharness.host.leaderboard.tables import Note, table_of
            from pertharness.host.leaderboard.terminal import print_leaderboard

            tables = [table_of(table) for table in self.memory.shown]
            notes = [Note(**note) for note in self.memory.notes]
            with console.capture() as capture:
                print_leaderboard(tables, console, notes, verbose=verbose)
            self.memory.printed = {kind: capture.get()}
            write_memory(self.memory, self.folder)
        return self.memory.printed[kind]


def write_outputs(
    recipe: Recipe, plan: Plan, outcomes: Mapping[str, Outcome], store: Store, folder: Path, manifest: dict[str, Any],
    memory: Memory,
) -> Board:  # fmt: skip
    """Write all files of a run except its recipe.

    The manifest is always written. The other files are written only if an input or one of the files has changed.

    Parameters
    ----------
    manifest
        Gets the entry ``tables``. Its notes on the data are shown below the tables.
    memory
        The memory of this folder, from `pertharness.host.join.memory.read_memory`; is updated.
    """
    entered = digest_of(_inputs(recipe, plan, outcomes, manifest), _SOURCES)
    if not memory.holds(entered, folder):
        _write_files(recipe, plan, outcomes, store, folder, manifest, memory)
        memory.entered, memory.lacking = entered, _without_old_files(memory.lacking, outcomes)
        write_memory(memory, folder)
    manifest["tables"] = memory.tables
    write_manifest(folder, manifest)
    return Board(folder, memory)


def _inputs(recipe: Recipe, plan: Plan, outcomes: Mapping[str, Outcome], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return all inputs of the files of a run."""
    tasks: dict[int, Any] = {}

    def described(attempt: Attempt) -> dict[str, Any]:
        if id(attempt.task) not in tasks:
            tasks[id(attempt.task)] = attempt.task.model_dump(mode="json")
        return {**vars(attempt), "task": tasks[id(attempt.task)]}

    return {
        "versions": {name: version(name) for name in _LIBRARIES} | {"python": platform.python_version()},
        "comparison": recipe.comparison.model_dump(mode="json"),
        "attempts": [described(attempt) for attempt in [*plan.attempts, *plan.duplicates]],
        "selections": [[vars(each) for each in selection.candidates] for selection in plan.selections],
        "datasets": plan.datasets,
        "scorers": {name: offer.model_dump(mode="json") for name, offer in plan.scorers.items()},
        "outcomes": {
            key: (outcome.state, outcome.message, outcome.status.model_dump_json() if outcome.status else "")
            for key, outcome in outcomes.items()
        },
        "manifest": {name: value for name, value in manifest.items() if name not in _OF_THIS_TIME},
    }


def _write_files(
    recipe: Recipe, plan: Plan, outcomes: Mapping[str, Outcome], store: Store, folder: Path, manifest: dict[str, Any],
    memory: Memory,
) -> None:  # fmt: skip
    """Join the records and write the files; `memory` records each."""
    from pertharness.host.join import beside, collect_scores, costs, dataset_notes, facts, reasons, records, selections
    from pertharness.host.leaderboard import compare, curves, model_facts, pooled, score_file, tables, write
    from pertharness.host.leaderboard.comparison import Comparison
    from pertharness.host.report import write_report

    joined, metrics = collect_scores.join_scores(plan, outcomes, store), beside.metrics_of(plan)
    score_file.write_scores(joined, folder / "scores.csv.gz")
    spent = costs.join_costs(plan, outcomes)
    write.write_costs(spent, folder / "costs.csv")
    earlier = {
        name: [pooled.Part(*part) for part in parts]
        for name, parts in memory.parts.items()
        if memory.is_whole(folder, f"tables/{name}.csv")
    }
    selected = selections.join_selections(plan, outcomes)
    made = {
        curves.CURVES: (curves.SUMMARY, curves.average_curves(joined, metrics)),
        SELECTION: (selections.SUMMARY, selected),
    }
    memory.tables, parts = write.write_tables(beside.tables_of(plan, outcomes, store), made, folder / "tables", earlier)
    choice = recipe.comparison
    primary = {"metric": primary_metric(plan, choice.metric)}
    comparison = Comparison(**{**choice.model_dump(exclude={"calibrate", "select"}), **primary})
    skipped = reasons.skipped_scorers(plan, outcomes)
    leaderboard = compare.build_leaderboard(
        reasons.without_skipped(joined, plan, skipped), metrics, beside.settings_of(plan), comparison,
        beside.strata_of(plan, store), reasons.reasons(plan, outcomes, store),
    )  # fmt: skip
    leaderboard = _with_positions(leaderboard, recipe, plan, outcomes, store, folder, comparison)
    known_facts = facts.join_facts(plan, outcomes, store)
    leaderboard = model_facts.add_model_facts(leaderboard, known_facts)
    leaderboard = records.with_records(leaderboard, plan, outcomes)
    shown = tables.make_tables(leaderboard, metrics, beside.settings_of(plan), comparison, write.summarise_costs(spent))
    of_data = dataset_notes.footer_notes(
        *(manifest.get(name, {}) for name in ("dataset_notes", "prediction_notes", "left_out"))
    )
    notes = [
        *tables.not_scored(skipped), *selections.selection_notes(plan),
        *model_facts.make_notes(leaderboard, known_facts, metrics), *of_data,
    ]  # fmt: skip
    write.write_leaderboard(leaderboard, folder, shown, notes, selected)
    write_report(shown, {**manifest, "tables": memory.tables}, folder / "report", notes=notes)
    names = [
        *_FILES,
        *([_HALF] if (folder / _HALF).exists() else []),
        *(f"tables/{name}.csv" for name in memory.tables),
    ]
    memory.files = {name: sha256_file(folder / name) for name in names}
    memory.parts = {name: [list(part) for part in made] for name, made in parts.items()}
    memory.shown, memory.notes = [asdict(table) for table in shown], [asdict(note) for note in notes]
    memory.printed = {}


def _without_old_files(lacking: Mapping[str, list[str]], outcomes: Mapping[str, Outcome]) -> dict[str, list[str]]:
    """Return the lacking genes of this run's files alone."""
    statuses = [outcome.status for outcome in outcomes.values() if outcome.status is not None]
    present = {artefact.sha256 for status in statuses for artefact in status.artefacts.values()}
    return {sha256: genes for sha256, genes in lacking.items() if sha256 in present}


def _with_positions(
    leaderboard: pd.DataFrame, recipe: Recipe, plan: Plan, outcomes: Mapping[str, Outcome], store: Store, folder: Path,
    comparison: Comparison,
) -> pd.DataFrame:  # fmt: skip
    """Add positions if the recipe calibrates, and write the scores against the second half behind them."""
    import pandas as pd

    from pertharness.host.join import beside, collect_scores, reasons
    from pertharness.host.leaderboard import calibrate, score_file

    (folder / _HALF).unlink(missing_ok=True)
    half = half_plan(plan)
    joined = collect_scores.join_scores(half, outcomes, store) if recipe.comparison.calibrate else pd.DataFrame()
    if len(joined):
        score_file.write_scores(joined, folder / _HALF)
    return calibrate.add_positions(
        leaderboard, joined, beside.metrics_of(plan), beside.settings_of(plan), comparison,
        beside.strata_of(plan, store), reasons.reasons(half, outcomes, store),
    )  # fmt: skip
