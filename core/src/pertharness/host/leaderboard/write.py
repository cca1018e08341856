"""Write the tables of a run: the same bytes for the same numbers, whatever the order of the input."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pertharness.contract.cards import TableOffer
from pertharness.files.whole import write_text
from pertharness.host.leaderboard.comparison import has_test_weights
from pertharness.host.leaderboard.markdown import as_markdown
from pertharness.host.leaderboard.pooled import Part, Piece, join_table
from pertharness.host.leaderboard.tables import Note, Table
from pertharness.host.text.csv_text import as_csv

FORMAT = 1
"""Version of ``leaderboard.json``."""

_COST_KEYS = ["dataset", "task", "seed", "training_seed", "plugin", "model", "params", "stage", "phase"]


def write_leaderboard(
    frame: pd.DataFrame, folder: Path, tables: list[Table], notes: Iterable[Note] = (),
    selections: pd.DataFrame | None = None,
) -> None:  # fmt: skip
    """Write ``leaderboard.csv``, ``leaderboard.json`` and ``leaderboard.md``.

    Parameters
    ----------
    frame
        From `compare.build_leaderboard`.
    folder
        Where to write; created if absent.
    tables
        From `tables.make_tables`, of the same frame.
    notes
        Remarks below the tables, such as scorers that were skipped.
    selections
        From `pertharness.host.join.selections.join_selections`; without rows it is left out of ``leaderboard.json``.
    """
    write_text(folder / "leaderboard.csv", as_csv(frame))
    content: dict[str, Any] = {"format": FORMAT, "rows": _rows_of(frame)}
    if selections is not None and len(selections):
        content["selection"] = _rows_of(selections)
    text = json.dumps(content, indent=1, allow_nan=False)
    write_text(folder / "leaderboard.json", text + "\n")
    write_text(folder / "leaderboard.md", as_markdown(tables, notes))


def _rows_of(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return the rows of a table as JSON has them, missing values as null; those of test weights are marked."""
    rows: list[dict[Any, Any]] = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [row | {"test_weights": True} if has_test_weights(row["model"]) else row for row in rows]


def write_costs(costs: pd.DataFrame, path: Path) -> None:
    """Write ``costs.csv``: the costs of each phase of each job, which differ between runs."""
    write_text(path, as_csv(costs.sort_values(_COST_KEYS, ignore_index=True)))


def write_tables(
    joined: Mapping[str, tuple[TableOffer, Sequence[Piece]]], made: Mapping[str, tuple[str, pd.DataFrame]],
    folder: Path, earlier: Mapping[str, Sequence[Part]],
) -> tuple[dict[str, dict[str, str | int]], dict[str, list[Part]]]:  # fmt: skip
    """Write the tables beside the scores and those of the whole run as ``NAME.csv``, and remove all other tables.

    Parameters
    ----------
    joined
        Name -> offer on the card, and the tables of the records. Without tables, no file is written.
    made
        Name -> summary and content of the tables of the whole run, such as the mean curves. Without rows, no file is
        written.
    earlier
        Name -> the parts of the present file, if it is unchanged.

    Returns
    -------
    tuple
        Name -> ``summary`` and number of ``rows``, sorted by name; and name -> parts.
    """
    described: dict[str, dict[str, str | int]] = {}
    parts: dict[str, list[Part]] = {}
    for name, (offer, pieces) in joined.items():
        if pieces:
            parts[name] = join_table(offer, pieces, folder / f"{name}.csv", earlier.get(name, ()))
            described[name] = {"summary": offer.summary, "rows": sum(part.n_rows for part in parts[name])}
    for name, (summary, frame) in made.items():
        if len(frame):
            write_text(folder / f"{name}.csv", as_csv(frame))
            described[name] = {"summary": summary, "rows": len(frame)}
    for path in folder.glob("*.csv"):
        if path.stem not in described:
            path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    return dict(sorted(described.items())), parts


def summarise_costs(costs: pd.DataFrame) -> pd.DataFrame:
    """Return the cost of a typical prediction per dataset, task and model.

    Returns
    -------
    pandas.DataFrame
        dataset, task, plugin, model, params, ``wall_s`` (median over jobs of the elapsed time), ``peak_rss_mb`` and
        ``peak_gpu_mb`` (the maximum over jobs). Jobs that did not finish are ignored.
    """
    keys = ["dataset", "task", "plugin", "model", "params"]
    finished = costs[(costs["stage"] == "predictions") & (costs["phase"] == "job") & (costs["state"] == "done")]
    finished = finished.astype({"wall_s": float, "peak_rss_mb": float, "peak_gpu_mb": float})
    summary: pd.DataFrame = finished.groupby(keys)[["peak_rss_mb", "peak_gpu_mb"]].max().reset_index()
    summary = summary.merge(finished.groupby(keys)["wall_s"].median().reset_index(), on=keys)
    return summary
