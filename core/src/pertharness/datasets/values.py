"""Brings the values of a file to log1p of counts per 10 000; refuses those of which that cannot be told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pertharness.canonical import LOG1P_CEILING, find_value
from pertharness.datasets.labelling import quote
from pertharness.datasets.options import FileOptions
from pertharness.errors import DataError

_PROBE_ROWS = 500  # enough for a median


@dataclass(frozen=True)
class Values:
    """The matrix of a file: shape (n_obs, n_genes), numpy array or CSR."""

    matrix: Any
    where: str
    """How to name it: ``X`` or ``layers['counts']``."""
    rows: Any
    """Names of the rows, as in the file."""
    genes: Any
    layers: list[str]
    """The layers that could be used instead."""


def plain_matrix(values: Values) -> Values:
    """Give the values as a numpy array or CSR matrix of numbers.

    Raises
    ------
    DataError
        If they are not numbers, or one of them is not finite.
    """
    from scipy import sparse

    # csr_matrix, not tocsr: a sparse array of a newer scipy or anndata becomes a matrix, too.
    is_sparse = sparse.issparse(values.matrix)
    matrix: Any = sparse.csr_matrix(values.matrix) if is_sparse else np.asarray(values.matrix)
    if matrix.dtype.kind not in "iuf":
        example = matrix.ravel()[0] if isinstance(matrix, np.ndarray) and matrix.size else None
        raise DataError(
            f"{values.where} has the type {matrix.dtype.name!r} (first value: {example!r}); expected numbers: convert "
            "it in the file, e.g. adata.X = adata.X.astype('float32')"
        )
    if not isinstance(matrix, np.ndarray):
        matrix.sort_indices()
    plain = Values(matrix, values.where, values.rows, values.genes, values.layers)
    if matrix.dtype.kind == "f":
        _refuse(plain, lambda x: ~np.isfinite(x), "a finite number; remove the row or the gene, or set the value")
    return plain


def to_log1p(values: Values, totals: np.ndarray | None, options: FileOptions, notes: list[str]) -> Any:
    """Give log1p of counts per 10 000, and note what was done.

    Parameters
    ----------
    values
        As ``plain_matrix`` gives them.
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
    _refuse(values, lambda x: x < 0, f"0 or more: z-scores or other centred values cannot be used{others}")
    fraction = find_value(values.matrix, lambda x: x != np.floor(x))
    if fraction is None and options.scale == "log1p":
        raise DataError(
            f"{values.where} holds only integers: these are counts, not --scale log1p; use --normalise instead{others}"
        )
    if fraction is None or options.scale == "counts":
        if not options.normalise:
            found = "holds only integers: raw counts" if fraction is None else "is declared as --scale counts"
            raise DataError(
                f"{values.where} {found}, the largest {float(values.matrix.max())!r}; expected log1p of counts per "
                f"10 000: normalise it with --normalise{others}"
            )
        return _normalise(values, totals, notes)
    if options.normalise:
        raise DataError(
            f"{_place(values, fraction)}; --normalise expected integer counts: leave it out if these are log1p values, "
            f"add --scale counts if they are counts{others}"
        )
    remedy = (
        f"at most log1p(10 000) = 9.21: if these are counts without a logarithm, --scale counts --normalise{others}"
    )
    _refuse(values, lambda x: x > LOG1P_CEILING, remedy)
    how = (
        "declared" if options.scale else f"found: not integers, none below 0, largest {float(values.matrix.max()):.3g}"
    )
    sums = f"median sum of expm1 over the first rows {_median_sum(values.matrix):.4g}"
    notes.append(f"scale: {values.where} taken as log1p of counts per 10 000 ({how}; {sums})")
    return values.matrix


def _normalise(values: Values, totals: np.ndarray | None, notes: list[str]) -> Any:
    """Give log1p(10 000 x / total); the totals of the file count where they can be those of all genes."""
    from scipy import sparse

    sums = np.asarray(values.matrix.sum(axis=1, dtype=np.float64)).ravel()
    if totals is not None and not (totals >= sums - 0.5).all():  # stored totals may be rounded
        totals = None
    by = "the totals in obs" if totals is not None else "the sums over the genes of the file"
    totals = sums if totals is None else totals
    if not (totals > 0).all():
        row = values.rows[int(np.argmin(totals > 0))]
        raise DataError(f"{values.where} has no counts in row {row!r}: it cannot be normalised; remove the row")
    notes.append(f"scale: counts of {values.where} divided by {by}, times 10 000, log1p")
    factors = 1e4 / totals
    if isinstance(values.matrix, np.ndarray):
        return np.log1p(values.matrix * factors[:, None])
    scaled = values.matrix.astype(np.float64)
    scaled.data = np.log1p(scaled.data * np.repeat(factors, np.diff(scaled.indptr)))
    return sparse.csr_matrix(scaled)


def _median_sum(matrix: Any) -> float:
    """Give the median over the first rows of the sum of expm1; 10 000 where all genes are there."""
    rows = matrix[:_PROBE_ROWS]
    dense = rows if isinstance(rows, np.ndarray) else rows.toarray()
    return float(np.median(np.expm1(dense.astype(np.float64)).sum(axis=1)))


def _place(values: Values, found: tuple[int, int, float]) -> str:
    """Say which value is where."""
    row, gene, value = found
    return f"{values.where} has {value!r} in row {values.rows[row]!r}, gene {values.genes[gene]!r}"


def _refuse(values: Values, is_bad: Callable[[np.ndarray], np.ndarray], expected: str) -> None:
    """Refuse values of which one is bad."""
    found = find_value(values.matrix, is_bad)
    if found:
        raise DataError(f"{_place(values, found)}; expected {expected}")
