"""Brings the values of a file to log1p of counts per 10 000; refuses those of which that cannot be told.

Everything here goes over the values a chunk at a time; what is changed is changed when the rows are read again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pertharness.canonical import LOG1P_CEILING
from pertharness.datasets.labelling import quote
from pertharness.datasets.options import FileOptions
from pertharness.errors import DataError
from pertharness.streaming import (
    View,
    as_source,
    first_value,
    format_of,
    place_of,
    row_chunks,
    stored_values,
    to_memory,
)
from pertharness.structure import is_number

_PROBE_ROWS = 500  # enough for a median
MOST_PER_CELL = 10_100.0
"""Of the sum of expm1 over the genes of a cell: 10 000, and some room for rounding."""
Place = tuple[int, int, float]
"""Row, column and value."""


@dataclass(frozen=True)
class Values:
    """The matrix of a file: shape (n_obs, n_genes), see ``pertharness.streaming``."""

    matrix: Any
    where: str
    """How to name it: ``X`` or ``layers['counts']``."""
    rows: Any
    """Names of the rows, as in the file."""
    genes: Any
    layers: list[str]
    """The layers that could be used instead."""


@dataclass
class Survey:
    """What one pass over values finds.

    Attributes
    ----------
    sums
        Of the rows, shape (n_obs,), float64.
    first
        Kind of value -> the first chunk's first one, of those kinds that occur.
    """

    sums: np.ndarray
    first: dict[str, Place] = field(default_factory=dict)
    largest: float = 0.0
    median_sum: float = 0.0
    """Median over the first rows of the sum of expm1; 10 000 where all genes are there."""
    is_sorted: bool = True


# What makes a value one of a kind.
_KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "not finite": lambda x: ~np.isfinite(x),
    "negative": lambda x: x < 0,
    "fraction": lambda x: x != np.floor(x),
    "too high": lambda x: x > LOG1P_CEILING,
}


def survey_values(values: Values) -> tuple[Values, Survey]:
    """Give the values as a dense or CSR matrix of numbers, and what is in it.

    CSC is turned into CSR, in memory.

    Raises
    ------
    DataError
        If they are not numbers, or one of them is not finite.
    """
    matrix = as_source(values.matrix)
    if not is_number(matrix.dtype):
        raise DataError(
            f"{values.where} has the type {matrix.dtype.name!r}{first_value(matrix)}; expected numbers: convert "
            "it in the file, e.g. adata.X = adata.X.astype('float32')"
        )
    matrix = as_source(to_memory(matrix)) if format_of(matrix) == "csc" else matrix
    plain = Values(matrix, values.where, values.rows, values.genes, values.layers)
    survey = Survey(np.zeros(matrix.shape[0]))
    probed: list[np.ndarray] = []
    for start, chunk in row_chunks(matrix):
        _look_at(chunk, start, survey)
        if start < _PROBE_ROWS and not {"not finite", "too high"} & set(survey.first):
            probed.append(_expm1_sums(chunk[: _PROBE_ROWS - start]))
    survey.median_sum = float(np.median(np.concatenate(probed))) if probed else 0.0
    _refuse(plain, survey, "not finite", "a finite number; remove the row or the gene, or set the value")
    return (plain if survey.is_sorted else _changed(plain, matrix.dtype, _sort)), survey


def _look_at(chunk: Any, start: int, survey: Survey) -> None:
    """Note what is in some rows."""
    stored = stored_values(chunk)
    for kind in [kind for kind in _KINDS if kind not in survey.first]:
        bad = _KINDS[kind](stored)
        if bad.any():
            at = int(np.argmax(bad))
            row, column = place_of(chunk, at)
            survey.first[kind] = (start + row, column, float(stored[at]))
    survey.sums[start : start + chunk.shape[0]] = np.asarray(chunk.sum(axis=1, dtype=np.float64)).ravel()
    survey.largest = max(survey.largest, float(stored.max(initial=0)))
    survey.is_sorted &= bool(getattr(chunk, "has_sorted_indices", True))


def _expm1_sums(chunk: Any) -> np.ndarray:
    """Give the sum of expm1 of each row."""
    exact = chunk.astype(np.float64)
    return np.asarray((np.expm1(exact) if isinstance(exact, np.ndarray) else exact.expm1()).sum(axis=1)).ravel()


def _changed(values: Values, dtype: Any, change: Callable[[Any, int], Any]) -> Values:
    """Give values that are changed when they are read."""
    view = View(values.matrix, np.dtype(dtype), change=change)
    return Values(view, values.where, values.rows, values.genes, values.layers)


def _sort(chunk: Any, start: int) -> Any:
    """Put the columns of each row in order."""
    return chunk.sorted_indices()


def as_type(matrix: Any, dtype: Any) -> Any:
    """Give a matrix with values of another type, converted when they are read; itself if it has that type."""
    if matrix.dtype == dtype:
        return matrix
    return View(matrix, np.dtype(dtype), change=lambda chunk, start: chunk.astype(dtype))


def to_log1p(values: Values, survey: Survey, totals: np.ndarray | None, options: FileOptions, notes: list[str]) -> Any:
    """Give log1p of counts per 10 000, and note what was done.

    Parameters
    ----------
    values, survey
        As ``survey_values`` gives them.
    totals
        Counts of each row over all genes, also those that are not in the file; shape (n_obs,).
    options
        ``scale`` (what the values are said to be) and ``normalise`` are looked at.
    notes
        Gets a line.

    Raises
    ------
    DataError
        If the values are not on the scale that is declared or needed, with the flag that helps.
    """
    others = f"; or take another layer with --layer ({quote(values.layers)})" if values.layers else ""
    remedy = f"z-scores or other centred values cannot be used, save log-normalised or raw values as X{others}"
    _refuse(values, survey, "negative", f"0 or more: {remedy}")
    fraction = survey.first.get("fraction")
    if fraction is None and options.scale == "log1p":
        raise DataError(
            f"{values.where} holds only integers: these are counts, not --scale log1p; use --normalise instead{others}"
        )
    if fraction is None or options.scale == "counts":
        if not options.normalise:
            found = "holds only integers: raw counts" if fraction is None else "is declared as --scale counts"
            raise DataError(
                f"{values.where} {found}, the largest {survey.largest!r}; expected log1p of counts per "
                f"10 000: normalise it with --normalise{others}"
            )
        return _normalise(values, survey.sums, totals, notes)
    if options.normalise:
        raise DataError(
            f"{_place(values, fraction)}; --normalise expected integer counts: leave it out if these are log1p values, "
            f"add --scale counts if they are counts{others}"
        )
    remedy = (
        f"at most log1p(10 000) = 9.21: if these are counts without a logarithm, --scale counts --normalise{others}"
    )
    _refuse(values, survey, "too high", remedy)
    if not options.scale and survey.median_sum > MOST_PER_CELL:
        raise DataError(
            f"{values.where}: the sum of expm1 over the genes is {survey.median_sum:.4g} in the median row, expected "
            f"at most 10 000: these are logs of another total; give log1p of counts per 10 000 as X, or accept the "
            f"values as they are with --scale log1p{others}"
        )
    how = "declared" if options.scale else f"found: not integers, none below 0, largest {survey.largest:.3g}"
    sums = f"median sum of expm1 over the first rows {survey.median_sum:.4g}"
    notes.append(f"scale: {values.where} taken as log1p of counts per 10 000 ({how}; {sums})")
    return values.matrix


def _normalise(values: Values, sums: np.ndarray, totals: np.ndarray | None, notes: list[str]) -> Any:
    """Give log1p(10 000 x / total); the totals of the file count where they can be those of all genes."""
    if totals is not None and not (totals >= sums - 0.5).all():  # stored totals may be rounded
        totals = None
    by = "the totals in obs" if totals is not None else "the sums over the genes of the file"
    totals = sums if totals is None else totals
    if not (totals > 0).all():
        row = values.rows[int(np.argmin(totals > 0))]
        raise DataError(f"{values.where} has no counts in row {row!r}: it cannot be normalised; remove the row")
    notes.append(f"scale: counts of {values.where} divided by {by}, times 10 000, log1p")
    factors = 1e4 / np.maximum(totals, sums)  # no count is more than all of them

    def to_logs(chunk: Any, start: int) -> Any:
        mine = factors[start : start + chunk.shape[0]]
        if isinstance(chunk, np.ndarray):
            return np.log1p(chunk * mine[:, None])
        scaled = chunk.astype(np.float64)
        scaled.data = np.log1p(scaled.data * np.repeat(mine, np.diff(scaled.indptr)))
        return scaled

    return _changed(values, np.float64, to_logs).matrix


def _place(values: Values, found: Place) -> str:
    """Say which value is where."""
    row, gene, value = found
    return f"{values.where} has {value!r} in row {values.rows[row]!r}, gene {values.genes[gene]!r}"


def _refuse(values: Values, survey: Survey, kind: str, expected: str) -> None:
    """Refuse values of which one is of a kind that cannot be used."""
    if kind in survey.first:
        raise DataError(f"{_place(values, survey.first[kind])}; expected {expected}")
