"""Survey the values of a file in one pass: which kinds of numbers occur, and the evidence that ``scale`` needs.

Values are read a chunk at a time. Conversions are applied when the rows are read again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pertharness.contract.errors import DataError
from pertharness.data.canonical import LOG1P_CEILING
from pertharness.data.hdf5_structure import is_number
from pertharness.data.streaming import (
    View,
    as_source,
    first_value,
    format_of,
    position_of,
    row_chunks,
    stored_values,
    to_memory,
)
from pertharness.datasets.scale import Evidence

LocatedValue = tuple[int, int, float]
"""Row, column and value."""


@dataclass(frozen=True)
class Values:
    """The matrix of a file, shape (n_obs, n_genes); see ``pertharness.data.streaming``."""

    matrix: Any
    where: str
    """Name of the matrix in messages: ``X`` or ``layers['counts']``."""
    rows: Any
    """Names of the rows in the file."""
    genes: Any
    layers: list[str]
    """Other layers that the user could choose."""


@dataclass
class Survey:
    """The results of one pass over values.

    Attributes
    ----------
    sums
        Sums of the rows, shape (n_obs,), float64; complete only if the values are counts, or declared as such.
    evidence
        Evidence on the scale, if the values may be logarithms.
    first
        Kind of value -> its first occurrence, for kinds that occur.
    """

    sums: np.ndarray
    evidence: Evidence
    first: dict[str, LocatedValue] = field(default_factory=dict)
    largest: float = 0.0
    is_sorted: bool = True


# Kind of value -> test for it.
_KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "not finite": lambda x: ~np.isfinite(x),
    "negative": lambda x: x < 0,
    "fraction": lambda x: x != np.floor(x),
    "too high": lambda x: x > LOG1P_CEILING,
}


def survey_values(values: Values, *, are_counts: bool = False) -> tuple[Values, Survey]:
    """Return the values as a dense or CSR matrix of numbers, and their survey.

    CSC is converted to CSR in memory.

    Parameters
    ----------
    are_counts
        Whether the values are declared as counts; then their sums are needed even if they have fractions.

    Raises
    ------
    DataError
        If the values are not finite numbers.
    """
    matrix = as_source(values.matrix)
    if not is_number(matrix.dtype):
        raise DataError(
            f"{values.where} has the type {matrix.dtype.name!r}{first_value(matrix)}; expected numbers: convert "
            "it in the file, e.g. adata.X = adata.X.astype('float32')"
        )
    matrix = as_source(to_memory(matrix)) if format_of(matrix) == "csc" else matrix
    plain = Values(matrix, values.where, values.rows, values.genes, values.layers)
    survey = Survey(np.zeros(matrix.shape[0]), Evidence(np.zeros(matrix.shape[0])))
    for start, chunk in row_chunks(matrix):
        _look_at(chunk, start, survey, are_counts=are_counts)
    refuse_kind(plain, survey, "not finite", "a finite number; remove the row or the gene, or set the value")
    return (plain if survey.is_sorted else changed_values(plain, matrix.dtype, _sort)), survey


def _look_at(chunk: Any, start: int, survey: Survey, *, are_counts: bool) -> None:
    """Add some rows to the survey."""
    stored = stored_values(chunk)
    low, high = (float(stored.min()), float(stored.max())) if len(stored) else (0.0, 0.0)
    is_plain = low >= 0 and high <= LOG1P_CEILING  # False if there is a NaN
    for kind in [kind for kind in _KINDS if kind not in survey.first and (kind == "fraction" or not is_plain)]:
        bad = _KINDS[kind](stored)
        if bad.any():
            at = int(np.argmax(bad))
            row, column = position_of(chunk, at)
            survey.first[kind] = (start + row, column, float(stored[at]))
    if are_counts or "fraction" not in survey.first:
        survey.sums[start : start + chunk.shape[0]] = np.asarray(chunk.sum(axis=1, dtype=np.float64)).ravel()
    if not {"not finite", "negative"} & set(survey.first):
        if is_plain or "fraction" in survey.first:
            survey.evidence.add(chunk, start)
        else:  # counts
            survey.evidence.sums[start : start + chunk.shape[0]] = np.inf
    survey.largest = max(survey.largest, high)
    survey.is_sorted &= bool(getattr(chunk, "has_sorted_indices", True))


def changed_values(values: Values, dtype: Any, change: Callable[[Any, int], Any]) -> Values:
    """Return values that `change` converts when they are read."""
    view = View(values.matrix, np.dtype(dtype), change=change)
    return Values(view, values.where, values.rows, values.genes, values.layers)


def _sort(chunk: Any, start: int) -> Any:
    """Return a chunk with the columns of each row in order."""
    return chunk.sorted_indices()


def as_type(matrix: Any, dtype: Any) -> Any:
    """Return a matrix with values of another type, converted when they are read; no view if it has that type."""
    if matrix.dtype == dtype:
        return matrix
    return View(matrix, np.dtype(dtype), change=lambda chunk, start: chunk.astype(dtype))


def describe_value(values: Values, located: LocatedValue) -> str:
    """Return a value and its position in words."""
    row, gene, value = located
    return f"{values.where} has {value!r} in row {values.rows[row]!r}, gene {values.genes[gene]!r}"


def refuse_kind(values: Values, survey: Survey, kind: str, expected: str) -> None:
    """Raise an error if a kind of value occurs."""
    if kind in survey.first:
        raise DataError(f"{describe_value(values, survey.first[kind])}; expected {expected}")
