"""Write ``scores.csv.gz``: millions of sorted rows, in pieces, so that memory holds the text of one piece."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from pertharness.files.whole import replacing
from pertharness.host.leaderboard.coded import Coded, code, combine
from pertharness.host.text.csv_text import quote

SCORE_COLUMNS = (
    "dataset", "split", "seed", "plugin", "model", "params", "perturbation", "gene", "metric", "variant", "coordinate",
    "value", "state", "task", "training_seed", "part", "record",
)  # fmt: skip
_SORTED_BY = tuple(name for name in SCORE_COLUMNS if name not in ("value", "record"))
_TOGETHER = (
    ("dataset", "split", "seed", "plugin", "model", "params"), ("perturbation",), ("gene",), ("metric", "variant"),
    ("coordinate",), ("value",), ("state", "task", "training_seed", "part", "record"),
)  # fmt: skip
"""Neighbouring columns with few combinations: the text of each combination is made once."""
_ROWS = 50_000
"""Rows of one piece: 15 MB of text."""
_LEVEL = 5
"""Level of gzip: takes 0.6 of the time of level 6 for 1 % more bytes, and a third of that of level 9 for 8 % more."""


def write_scores(frame: pd.DataFrame, path: Path) -> None:
    """Write every expected value, sorted, without time and name in the gzip header.

    Parameters
    ----------
    frame
        From `pertharness.host.join.collect_scores.join_scores`; an absent column is written empty.
    path
        Where to write the file, atomically.
    """
    with (
        replacing(path) as temporary,
        temporary.open("wb") as file,
        gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed,  # gzip.compress writes other headers in Python 3.11
    ):
        packed.write((",".join(SCORE_COLUMNS) + "\n").encode())
        for text in _pieces(frame):
            packed.write(text.encode())


def _pieces(frame: pd.DataFrame) -> Iterator[str]:
    """Yield the rows as text, in order."""
    if frame.empty:
        return
    columns = {name: code(frame[name]) for name in SCORE_COLUMNS if name in frame and name != "value"}
    order = np.argsort(combine(*(_sortable(columns[name]) for name in _SORTED_BY if name in columns)), kind="stable")
    values = frame["value"].to_numpy(dtype=np.float64)
    groups = [[columns.get(name) for name in names] for names in _TOGETHER]
    for start in range(0, len(order), _ROWS):
        rows = order[start : start + _ROWS]
        cells = [
            _numbers(values[rows]) if names == ("value",) else _texts(group, rows, last=names == _TOGETHER[-1])
            for names, group in zip(_TOGETHER, groups, strict=True)
        ]
        yield "".join(map("".join, zip(*cells, strict=True)))


def _numbers(values: np.ndarray) -> list[str]:
    """Return numbers with all their digits, each followed by a comma; NaN is written empty."""
    texts = [f"{value!r}," for value in values.tolist()]
    for position in np.flatnonzero(np.isnan(values)):
        texts[position] = ","
    return texts


def _sortable(column: Coded) -> tuple[np.ndarray, int]:
    """Return codes that start at 0, with missing values last, and the number of codes."""
    missing = column.codes < 0
    codes = np.where(missing, column.size, column.codes) if missing.any() else column.codes
    return codes, column.size + 1


def _texts(group: list[Coded | None], rows: np.ndarray, *, last: bool) -> list[str]:
    """Return neighbouring cells of rows as text, each followed by a comma or the end of the line."""
    present = [column for column in group if column is not None]
    if not present:
        return [_line(["" for _ in group], last=last)] * len(rows)
    key = combine(*((column.codes[rows].astype(np.int64) + 1, column.size + 1) for column in present))
    number, keys, first = _distinct(key)
    texts = np.empty(len(keys), dtype=object)
    for position, row in enumerate(rows[first].tolist()):
        texts[position] = _line([_cell(column, row) for column in group], last=last)
    chosen: list[str] = texts[number].tolist()
    return chosen


def _distinct(key: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the number of each key, the distinct keys, and the first position of each."""
    number, keys = pd.factorize(key)
    first = np.empty(len(keys), dtype=np.intp)
    first[number[::-1]] = np.arange(len(key) - 1, -1, -1)
    return number, keys, first


def _line(cells: list[str], *, last: bool) -> str:
    return ",".join(cells) + ("\n" if last else ",")


def _cell(column: Coded | None, row: int) -> str:
    """Return a cell as text; a missing value is empty."""
    if column is None or column.codes[row] < 0:
        return ""
    value = column.values[column.codes[row]]
    return quote(value) if isinstance(value, str) else repr(value.item() if hasattr(value, "item") else value)
