"""Check the values of a file of predictions in one pass, and average them, a few megabytes at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from pertharness.contract.errors import DataError
from pertharness.data.canonical import LOG1P_CEILING
from pertharness.data.streaming import (
    View,
    as_source,
    format_of,
    position_of,
    row_chunks,
    stored_values,
    sum_groups,
    to_memory,
)
from pertharness.worker.external.file import AS_LOGS, PredictionFile
from pertharness.worker.external.genes import Columns

_CHUNK_BYTES = 4 << 20
"""Bytes of stored values per chunk; intermediate results need several times as much."""
SAMPLED_ROWS = 300
"""Approximate largest number of rows that the scale is detected from."""
_FEWEST_COUNTS = 20
"""Fewest positive values of a row of counts: so many logarithms are never all whole numbers."""
_LEAVE_OUT = "leave such perturbations or genes out"
_FAULTS = MappingProxyType({
    "infinite": _LEAVE_OUT,
    "high": f"log1p of counts per 10 000 ends at {LOG1P_CEILING:.2f}: these look like counts, or logarithms of another "
    f"base or total; {AS_LOGS}",
    "low": f"expected at least {-LOG1P_CEILING:.2f}: give the mean of the log-normalised expression, not a change, a "
    "z-score or a logarithm of something else",
})  # fmt: skip
"""Kind of value that log1p of counts per 10 000 cannot have -> what to do."""


@dataclass
class RowSurvey:
    """The results of one pass over the rows of the queries.

    Attributes
    ----------
    n_rows
        Number of rows.
    n_nan
        Number of rows in which each column of the file is NaN, shape (n_columns,).
    first
        Kind of fault -> index among the rows, column of the file, and value of its first occurrence.
    counts
        Index, column and largest value of the first row with whole numbers only.
    logs
        Index, column and largest value of the first row with fractions.
    sample
        Some rows with all columns, as a CSR matrix of float64.
    """

    n_rows: int
    n_nan: np.ndarray
    first: dict[str, tuple[int, int, float]] = field(default_factory=dict)
    counts: tuple[int, int, float] | None = None
    logs: tuple[int, int, float] | None = None
    sample: Any = None


def survey_rows(matrix: Any, is_gene: np.ndarray) -> RowSurvey:
    """Return a survey of the values, from one pass over the rows.

    Parameters
    ----------
    matrix
        Shape (n_rows, n_columns), see ``pertharness.data.streaming``.
    is_gene
        Whether a column is a gene of the dataset, shape (n_columns,); faults in other columns are ignored.
    """
    from scipy import sparse

    kinds: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "nan": np.isnan, "infinite": np.isinf, "high": lambda x: x > LOG1P_CEILING, "low": lambda x: x < -LOG1P_CEILING,
    }  # fmt: skip
    n_rows, n_columns = matrix.shape
    survey = RowSurvey(n_rows, np.zeros(n_columns, dtype=np.int64))
    step, sample = max(1, -(-n_rows // SAMPLED_ROWS)), []
    for start, chunk in row_chunks(matrix, _CHUNK_BYTES):
        values, columns = stored_values(chunk).astype(np.float64), _columns_of(chunk)
        in_gene_column = is_gene[columns]
        for kind, is_bad in kinds.items():
            bad = is_bad(values) & in_gene_column
            if kind == "nan" and bad.any():
                survey.n_nan += np.bincount(columns[bad], minlength=n_columns)
            if bad.any() and kind not in survey.first:
                at = int(np.argmax(bad))
                row, column = position_of(chunk, at)
                survey.first[kind] = (start + row, column, float(values[at]))
        _look_for_counts(survey, start, chunk, np.where(in_gene_column, values, 0.0))
        rows = np.arange(start, start + chunk.shape[0])
        if (sampled := np.flatnonzero(rows % step == 0)).size:
            sample.append(sparse.csr_matrix(chunk[sampled], dtype=np.float64))
    survey.sample = sparse.vstack(sample, format="csr")
    return survey


def _columns_of(chunk: Any) -> np.ndarray:
    """Return the column of each stored value of a chunk of rows."""
    if isinstance(chunk, np.ndarray):
        return np.tile(np.arange(chunk.shape[1]), chunk.shape[0])
    columns: np.ndarray = chunk.indices
    return columns


def _look_for_counts(survey: RowSurvey, start: int, chunk: Any, values: np.ndarray) -> None:
    """Record the first row of whole numbers only, and the first row with fractions."""
    n_rows = chunk.shape[0]
    lengths = np.full(n_rows, chunk.shape[1]) if isinstance(chunk, np.ndarray) else np.diff(chunk.indptr)
    row_of = np.repeat(np.arange(n_rows), lengths)
    is_fraction = np.isfinite(values) & (values != np.floor(values))
    has_fraction = np.bincount(row_of[is_fraction], minlength=n_rows) > 0
    n_above = np.bincount(row_of[values > 0], minlength=n_rows)
    has_several = np.bincount(row_of[values >= 2], minlength=n_rows) > 0
    are_counts = ~has_fraction & (n_above >= _FEWEST_COUNTS) & has_several
    ends = np.concatenate([[0], np.cumsum(lengths)])

    def largest_of(row: int) -> tuple[int, int, float]:
        index = int(ends[row] + np.nanargmax(values[ends[row] : ends[row + 1]]))
        return start + row, position_of(chunk, index)[1], float(values[index])

    if survey.counts is None and are_counts.any():
        survey.counts = largest_of(int(np.argmax(are_counts)))
    if survey.logs is None and has_fraction.any():
        survey.logs = largest_of(int(np.argmax(has_fraction)))


def refuse_sums(values: np.ndarray, file: PredictionFile, queries: list[str], columns: Columns) -> None:
    """Raise an error for changes that are out of range once the mean of the controls is added.

    Parameters
    ----------
    values
        Changes with the mean added, shape (n_queries, n_genes).
    """
    is_bad = np.abs(values) > LOG1P_CEILING
    if is_bad.any():
        row, gene = np.argwhere(is_bad)[0]
        raise file.fault(
            f"the change of the perturbation {queries[row]!r}, gene {columns.names[columns.positions[gene]]!r}, with "
            f"the mean of the controls added, is {values[row, gene]:g}; expected log1p of counts per 10 000, "
            f"{-LOG1P_CEILING:.2f} to {LOG1P_CEILING:.2f}: give changes of these"
        )


def refuse_values(
    file: PredictionFile, rows: np.ndarray, labels: list[str], columns: Columns, survey: RowSurvey, kind: str | None
) -> None:
    """Raise an error for values that cannot be log1p of counts per 10 000.

    Parameters
    ----------
    rows
        Indices of the rows of the queries in the file.
    labels
        Perturbations of these rows.
    kind
        Kind of rows that the user declared, or None. If given, whole numbers are accepted; changes may have any size.

    Raises
    ------
    DataError
        For the first fault, with row, column and what to do.
    """

    def fault(at: tuple[int, int, float], remedy: str) -> DataError:
        row, column, value = at
        return DataError(
            f"{str(file.path)!r} holds {value:g} for the perturbation {labels[row]!r}, gene {columns.names[column]!r} "
            f"(row {str(file.obs.index[rows[row]])!r} of {file.where}); {remedy}"
        )

    if (at := _nan_in_part(file, rows, columns, survey)) is not None:
        raise fault(at, _LEAVE_OUT)
    for name, remedy in _FAULTS.items():
        if name in survey.first and not (kind == "change" and name != "infinite"):
            raise fault(survey.first[name], remedy)
    if survey.counts is not None and kind is None:
        also = "this row holds only whole numbers"
        if survey.logs is not None:
            also += f", row {str(file.obs.index[rows[survey.logs[0]]])!r} does not: counts and logarithms are mixed"
        insist = "or set --prediction-kind mean if these are means of logarithms"
        raise fault(survey.counts, f"{also}: these look like counts; {AS_LOGS}, {insist}")


def _nan_in_part(
    file: PredictionFile, rows: np.ndarray, columns: Columns, survey: RowSurvey
) -> tuple[int, int, float] | None:
    """Return the first NaN of a gene that also has values, or of a file of NaN only; None if there is none."""
    used_columns = columns.positions[columns.positions >= 0]
    in_part = (survey.n_nan > 0) & (survey.n_nan < survey.n_rows)
    if not in_part.any():
        return survey.first["nan"] if (survey.n_nan[used_columns] == survey.n_rows).all() else None
    first = survey.first["nan"]
    return first if in_part[first[1]] else _first_nan(file, rows, np.flatnonzero(in_part))


def _first_nan(file: PredictionFile, rows: np.ndarray, columns: np.ndarray) -> tuple[int, int, float]:
    """Return row, column and value of the first NaN in some columns."""
    for start, chunk in row_chunks(rows_of(file, rows), _CHUNK_BYTES):
        bad = np.isnan(stored_values(chunk).astype(np.float64)) & np.isin(_columns_of(chunk), columns)
        if bad.any():
            row, column = position_of(chunk, int(np.argmax(bad)))
            return start + row, column, float("nan")
    raise AssertionError("a column was NaN before")  # only if the file was changed during reading


def average(matrix: Any, groups: np.ndarray, n_groups: int, positions: np.ndarray) -> np.ndarray:
    """Return the mean of the rows of each group, for the genes of the dataset; NaN if the file lacks a gene.

    Parameters
    ----------
    matrix
        Shape (n_rows, n_columns), log1p of counts per 10 000.
    groups
        Group of each row, integers from 0; shape (n_rows,).
    positions
        Column of each gene, -1 if it is missing; shape (n_genes,).

    Returns
    -------
    ndarray
        Shape (n_groups, n_genes), float64, accumulated in float64.
    """
    sums = sum_groups(matrix, groups, n_groups) / np.bincount(groups, minlength=n_groups)[:, None]
    means = np.full((n_groups, len(positions)), np.nan)
    means[:, positions >= 0] = sums[:, positions[positions >= 0]]
    return means


def in_rows(file: PredictionFile) -> PredictionFile:
    """Return a file whose matrix can be read by rows; CSC is converted to CSR in memory."""
    source = as_source(file.matrix)
    return replace(file, matrix=as_source(to_memory(source)) if format_of(source) == "csc" else source)


def rows_of(file: PredictionFile, rows: np.ndarray) -> View:
    """Return a view of some rows of a file, ascending; no values are read."""
    return View(file.matrix, np.dtype(file.matrix.dtype), rows)
