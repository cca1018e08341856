"""Tables beside the scores, joined over models and splits by the rules of their cards; and the mean curves.

The tables of records may be large: they are read one at a time, as text, and written as they are read. So a number has
the digits that its scorer wrote, and only what is kept of one model is held in memory.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from pertharness.cards import MetricOffer, TableOffer
from pertharness.files import replacing
from pertharness.scores import TABLE_COLUMNS

CURVES = "curves"
"""Name of the table of mean curves."""
_CURVE_KEYS = ["dataset", "task", "plugin", "model", "params", "metric", "variant", "coordinate"]
_DIGITS = 12  # As on the leaderboard: sums differ beyond this between machines.


class Piece(NamedTuple):
    """The table of one record, and whose it is; in the order of these fields tables are joined."""

    dataset: str
    task: str
    plugin: str
    model: str
    params: str
    training_seed: int
    split: str
    seed: int
    path: Path
    sha256: str


def join_table(offer: TableOffer, pieces: Iterable[Piece], path: Path) -> int:
    """Write the tables of records as one, whole or not at all, and give its number of rows.

    Parameters
    ----------
    offer
        What the card says: tables of the level ``dataset`` are held once per dataset and task; with `largest`, of the
        rows of a model's splits together only the largest are kept, in descending order, ties as they come; with
        `count`, these are counted.
    pieces
        In any order.
    path
        Where to write it.
    """
    ordered = sorted(pieces)
    columns = _columns(offer, ordered)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        pd.DataFrame(columns=columns).to_csv(file, index=False, lineterminator="\n")
        n_rows = 0
        for frame in _joined(offer, ordered):
            rows = frame.reindex(columns=columns, fill_value="")
            rows.to_csv(file, header=False, index=False, lineterminator="\n")
            n_rows += len(rows)
    return n_rows


def _columns(offer: TableOffer, pieces: Iterable[Piece]) -> list[str]:
    """Give the columns of a joined table: whose it is, and its own in the order of their first appearance."""
    if offer.count:
        return [*(name for name in _whose(offer) if name not in offer.count), *offer.count, "n"]
    seen = dict.fromkeys(piece.sha256 for piece in pieces)
    paths = {piece.sha256: piece.path for piece in pieces}
    own = dict.fromkeys(name for sha256 in seen for name in _read(paths[sha256], nrows=0).columns)
    return [*_whose(offer), *own]


def _whose(offer: TableOffer) -> tuple[str, ...]:
    """Give the columns that say whose a row is; rows that are counted, or are of a dataset, belong to no one split."""
    if offer.level == "dataset":
        return TABLE_COLUMNS[:2]
    return tuple(name for name in TABLE_COLUMNS if not (offer.count and name in ("split", "seed")))


def _joined(offer: TableOffer, ordered: list[Piece]) -> Iterator[pd.DataFrame]:
    """Yield the rows of a joined table, a model's or a dataset's after the other."""
    width = 2 if offer.level == "dataset" else Piece._fields.index("split")
    for _, group in itertools.groupby(ordered, key=lambda piece: piece[:width]):
        mine = list(group)
        frames = _distinct(mine) if offer.level == "dataset" else map(_labelled, mine)
        if offer.largest:
            frames = iter([_largest(frames, *offer.largest)])
        if offer.count:
            frames = iter([_counted(frames, mine[0], offer.count)])
        yield from frames


def _read(path: Path, nrows: int | None = None) -> pd.DataFrame:
    """Read a table as text; one without columns is none."""
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False, nrows=nrows)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()


def _labelled(piece: Piece) -> pd.DataFrame:
    """Read a table and say in columns whose it is."""
    return _read(piece.path).assign(**{name: str(getattr(piece, name)) for name in TABLE_COLUMNS})


def _distinct(pieces: Iterable[Piece]) -> Iterator[pd.DataFrame]:
    """Yield the rows of tables that say the same of a dataset, each once."""
    seen: set[tuple[str, ...]] = set()
    for piece in {piece.sha256: piece for piece in pieces}.values():  # equal files, the rule here, are read once
        frame = _labelled(piece)
        own = frame.drop(columns=list(TABLE_COLUMNS[2:])).drop_duplicates()
        rows = list(own.itertuples(index=False, name=None))
        yield own[[row not in seen for row in rows]]
        seen.update(rows)


def _largest(frames: Iterable[pd.DataFrame], column: str, n: int) -> pd.DataFrame:
    """Give the `n` rows with the largest absolute values, those that came first among equals; NaN is no value."""
    kept = pd.DataFrame()
    for frame in frames:
        kept = pd.concat([kept, frame], ignore_index=True) if len(kept) else frame
        # By numpy, whose reading is exact.
        values = np.abs(kept[column].replace("", "nan").to_numpy(dtype=str).astype(np.float64))
        order = np.argsort(-values, kind="stable")[: min(n, int((~np.isnan(values)).sum()))]
        kept = kept.iloc[order]
    return kept


def _counted(frames: Iterable[pd.DataFrame], piece: Piece, columns: tuple[str, ...]) -> pd.DataFrame:
    """Count rows by the values of columns, in the order of these values."""
    counts: Counter[tuple[str, ...]] = Counter()
    for frame in frames:
        if len(frame):
            counts.update(frame[list(columns)].itertuples(index=False, name=None))
    rows = [(*values, n) for values, n in sorted(counts.items())]
    whose = {name: str(getattr(piece, name)) for name in TABLE_COLUMNS if name not in columns}
    return pd.DataFrame(rows, columns=[*columns, "n"]).assign(**whose)


def average_curves(scores: pd.DataFrame, metrics: Mapping[str, MetricOffer]) -> pd.DataFrame:
    """Give the mean over splits of every curve, with its standard error, point by point.

    Parameters
    ----------
    scores
        From `pertharness.host.join.join_scores`; training seeds are averaged within a split first.
    metrics
        Metric -> its offer; those of the level ``curve`` count.

    Returns
    -------
    pandas.DataFrame
        dataset, task, plugin, model, params, metric, variant, coordinate, mean, se (sd with n - 1 over splits, divided
        by sqrt(n_splits); NaN for one split), n_splits; sorted. A split without a value at a point is not counted.
    """
    curves = [name for name, offer in metrics.items() if offer.level == "curve"]
    points = pd.DataFrame() if scores.empty else scores[scores["metric"].isin(curves) & scores["coordinate"].notna()]
    if points.empty or points["value"].isna().all():
        return pd.DataFrame(columns=[*_CURVE_KEYS, "mean", "se", "n_splits"])
    points = points.dropna(subset=["value"]).astype({"coordinate": float, "value": float})
    ordered = points.sort_values([*_CURVE_KEYS, "split", "seed", "training_seed"])
    per_split = ordered.groupby([*_CURVE_KEYS, "split", "seed"])["value"].mean().reset_index()
    over = per_split.groupby(_CURVE_KEYS)["value"]
    n_splits = over.count()
    frame = pd.DataFrame({"mean": over.mean(), "se": over.std(ddof=1) / np.sqrt(n_splits)})
    rounded = frame.apply(lambda column: [float(f"{value:.{_DIGITS}g}") for value in column])
    averaged: pd.DataFrame = rounded.assign(n_splits=n_splits).reset_index()
    return averaged
