"""Counts of single cells, from the data set or recovered from log1p of counts per 10 000.

A cell's smallest non-zero value is taken for one count, as the published script does (Ahlmann-Eltze, Huber & Anders,
doi 10.1038/s41592-025-02772-6), unless its total is known and gives whole numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pertharness import Skip

if TYPE_CHECKING:
    from anndata import AnnData

WHOLE = 0.01
"""Largest distance of a recovered count from a whole number, plus `RELATIVE` of the count."""
RELATIVE = 1e-5
"""A float32 log1p of at most 9.21 is off by 5e-7, and so is expm1 of it, relatively; twice that for the division."""


@dataclass(frozen=True)
class Counts:
    """Counts of the cells that have them.

    ``matrix`` is CSR float32, shape (n_kept, n_genes), of whole numbers; ``totals`` has shape (n_kept,): the sum of
    expm1 of a cell's expression, its share of the 10 000 that falls to the genes at hand; ``kept`` marks these cells,
    shape (n_obs,); ``note`` what was left out and why.
    """

    matrix: Any
    totals: np.ndarray
    kept: np.ndarray
    note: str


def recover(values: Any) -> Any:
    """Return ``expm1(values) / 1e4`` divided by its smallest non-zero value in each cell, not rounded.

    Parameters
    ----------
    values
        CSR, shape (n_obs, n_genes), log1p CP10k. expm1 is worked out in its type, the rest in float64.

    Returns
    -------
    csr_matrix
        float64; an empty cell stays empty.
    """
    result = values.astype(np.float64)
    result.data = np.expm1(values.data).astype(np.float64) / 1e4
    result.eliminate_zeros()
    filled = np.diff(result.indptr) > 0
    smallest = np.ones(result.shape[0])
    smallest[filled] = np.minimum.reduceat(result.data, result.indptr[:-1][filled]) if filled.any() else 1.0
    result.data /= np.repeat(smallest, np.diff(result.indptr))
    return result


def read_counts(cells: AnnData, inexact: float = 0.01) -> Counts:
    """Return the counts of cells, from ``layers["counts"]`` or recovered from ``X``.

    Parameters
    ----------
    cells
        Canonical, level cells.
    inexact
        Share of the cells that may have no whole counts; these are left out.

    Raises
    ------
    Skip
        If more cells than that have no whole counts, or none has any.
    """
    from scipy import sparse

    expression = sparse.csr_matrix(cells.X)
    if "counts" in cells.layers:
        counts, source = sparse.csr_matrix(cells.layers["counts"]).astype(np.float64), "layers['counts']"
    else:
        counts, source = _best(expression, cells), "counts recovered from log1p CP10k"
    rounded = counts.copy()
    rounded.data = np.rint(counts.data)
    has_counts = np.asarray(rounded.sum(axis=1)).ravel() > 0
    usable = has_counts & _are_whole(counts)
    n_inexact, n_empty = int((has_counts & ~usable).sum()), int((~has_counts).sum())
    if n_inexact > inexact * cells.n_obs or not usable.any():
        raise Skip(
            f"CPA needs counts: {source} are no whole numbers in {n_inexact} of {cells.n_obs} cells, and {n_empty} are "
            f"empty; allowed are {100 * inexact:g} %. Load the data with raw counts (--scale counts --normalise, or "
            "layers['counts']), or raise inexact_cells"
        )
    note = f"{source}: of {cells.n_obs} cells, {n_inexact} without whole counts and {n_empty} empty ones are left out"
    matrix = rounded[usable].astype(np.float32)
    return Counts(matrix, totals_of(expression)[usable], usable, note)


def totals_of(expression: Any) -> np.ndarray:
    """Return the sum of expm1 over the genes of each cell, shape (n_obs,): 10 000 if the data have all of its genes."""
    linear = expression.astype(np.float64)
    linear.data = np.expm1(linear.data)
    return np.asarray(linear.sum(axis=1)).ravel()


def _best(expression: Any, cells: AnnData) -> Any:
    """Recover counts with a cell's total if it is known and gives whole numbers, else with its smallest value."""
    from scipy import sparse

    recovered = recover(expression)
    if "total_counts" not in cells.obs:
        return recovered
    by_total = expression.astype(np.float64)
    totals = cells.obs["total_counts"].to_numpy(dtype=np.float64)
    by_total.data = np.expm1(by_total.data) * np.repeat(totals / 1e4, np.diff(by_total.indptr))
    by_total.data[~np.isfinite(by_total.data)] = 0.5  # a missing total gives no counts
    better = sparse.diags(_are_whole(by_total).astype(np.float64))
    return (better @ by_total + (sparse.identity(len(totals)) - better) @ recovered).tocsr()


def _are_whole(matrix: Any) -> np.ndarray:
    """Return the cells whose values are all whole numbers, and at least 1 unless 0; shape (n_obs,)."""
    nearest = np.rint(matrix.data)
    off = np.abs(matrix.data - nearest) > WHOLE + RELATIVE * nearest
    lost = (nearest == 0) & (matrix.data != 0)
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    bad: np.ndarray = np.bincount(row, weights=off | lost, minlength=matrix.shape[0]) == 0
    return bad
