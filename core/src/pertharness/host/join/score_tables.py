"""Read score tables of records into columns of integers and floats, which keep millions of rows small."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pertharness.contract.scores import COLUMNS, COMMON_GENES


class Words(defaultdict[str, int]):
    """Numbers for words, in the order of their first appearance."""

    def __missing__(self, word: str) -> int:
        """Return the next number."""
        number = self[word] = len(self)
        return number

    def codes(self, words: Iterable[str], n: int) -> np.ndarray:
        """Return the numbers of `n` words."""
        return np.fromiter(map(self.__getitem__, words), dtype=np.int32, count=n)


@dataclass(frozen=True)
class Vocabulary:
    """The words of all score tables of a run."""

    perturbation: Words = field(default_factory=Words)
    gene: Words = field(default_factory=Words)
    metric: Words = field(default_factory=Words)
    variant: Words = field(default_factory=Words)
    part: Words = field(default_factory=Words)


class RecordScores(NamedTuple):
    """The scores of one record, each of shape (n_rows,)."""

    perturbation: np.ndarray
    gene: np.ndarray
    metric: np.ndarray
    variant: np.ndarray
    coordinate: np.ndarray
    value: np.ndarray

    @property
    def places(self) -> np.ndarray:
        """One number per row for its perturbation, metric and variant."""
        return place_numbers(self.perturbation, self.metric, self.variant)


def no_scores() -> RecordScores:
    """Return a table without rows."""
    none, numbers = np.zeros(0, dtype=np.int32), np.zeros(0)
    return RecordScores(none, none, none, none, numbers, numbers)


def place_numbers(perturbation: np.ndarray, metric: np.ndarray, variant: np.ndarray) -> np.ndarray:
    """Return one number per row for its perturbation, metric and variant; the last two must be below 65 536."""
    numbers: np.ndarray = (perturbation.astype(np.int64) << 32) | (metric.astype(np.int64) << 16) | variant
    return numbers


def read_score_table(path: Path, words: Vocabulary, *, common: bool) -> RecordScores:
    """Read a record's score table.

    Parameters
    ----------
    path
        A CSV file with the columns of `pertharness.contract.scores.COLUMNS`.
    words
        Numbers of words; new words are added.
    common
        Whether to read the variant ``common-genes`` alone; if not, read all others.
    """
    header, columns = _columns(path.read_bytes().decode())
    position_of = {name: position for position, name in enumerate(header)}
    variant = columns[position_of["variant"]]
    if common or COMMON_GENES in variant:
        chosen = [(cell == COMMON_GENES) == common for cell in variant]
        columns = [list(compress(column, chosen)) for column in columns]
    cells = {name: columns[position_of[name]] for name in COLUMNS}
    n = len(cells["value"])
    codes = {name: getattr(words, name).codes(cells[name], n) for name in ("perturbation", "gene", "metric", "variant")}
    return RecordScores(**codes, coordinate=_numbers(cells["coordinate"]), value=_numbers(cells["value"]))


def _columns(text: str) -> tuple[list[str], list[list[str]]]:
    """Return the names of the columns of a CSV file, and their cells."""
    header = text.partition("\n")[0].split(",")
    cells = text.removesuffix("\n").replace("\n", ",").split(",")
    if '"' in text or "\r" in text or len(cells) != len(header) * (text.removesuffix("\n").count("\n") + 1):
        header, *rows = filter(None, csv.reader(io.StringIO(text, newline="")))
        columns = [list(column) for column in zip(*rows, strict=True)]
        return header, columns or [[] for _ in header]
    # Make no list per row: the garbage collector would take as long to check millions of them as all else together.
    return header, [cells[len(header) + position :: len(header)] for position in range(len(header))]


def _numbers(cells: list[str]) -> np.ndarray:
    """Return exact numbers from texts; NaN for an empty text."""
    if not any(cells):
        return np.full(len(cells), np.nan)
    # Use Python, which reads exactly; pandas before 3 does not.
    numbers = map(float, cells if all(cells) else (cell or "nan" for cell in cells))
    return np.fromiter(numbers, dtype=np.float64, count=len(cells))
