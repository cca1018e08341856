"""Recover counts from log1p of counts per 10 000, as the published scripts do for models that read counts."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pertharness import DataError
from scipy import sparse

TOTAL = 1e4
"""What the counts of a cell sum to before the logarithm: the scale of canonical data."""
CEILING = float(np.log1p(TOTAL)) + 1e-3
"""No value can be larger: that of a cell with all its counts in one gene, with room for float32."""


def check_log_values(values: Any) -> None:
    """Raise DataError unless values can be log1p of counts per 10 000.

    Parameters
    ----------
    values
        Dense or CSR, shape (n_cells, n_genes).
    """
    stored = values.data if sparse.issparse(values) else np.asarray(values)
    if not stored.size:
        return
    low, high = float(stored.min()), float(stored.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError("the expression has values that are no number; remove those cells or genes")
    if low < 0:
        raise DataError(f"the expression has the value {low:g}; expected log1p of counts per 10 000, none below 0")
    if high > CEILING:
        raise DataError(
            f"the expression has the value {high:g}; log1p of counts per 10 000 is at most {np.log1p(TOTAL):.2f}: are "
            "these raw counts? load the data with --scale counts --normalise"
        )


def recover_counts(values: Any) -> Any:
    """Return counts from log1p of counts per 10 000, taking the smallest positive value of each cell for one count.

    With x the values, (exp(x) - 1) / 10 000, divided by its smallest positive entry in the cell; the exponential in
    the type of `values`, the divisions in float64. A true count k comes back as k (1 +- 1e-7) from float32. A cell
    without positive values stays empty; a cell in which no gene has one count has all counts too small.

    Parameters
    ----------
    values
        Dense or CSR, shape (n_cells, n_genes).

    Returns
    -------
    numpy.ndarray or scipy.sparse.csr_matrix
        float64, of the kind and shape of `values`.

    Raises
    ------
    DataError
        If the values cannot be log1p of counts per 10 000.
    """
    check_log_values(values)
    if sparse.issparse(values):
        matrix = values.tocsr(copy=True)
        matrix.eliminate_zeros()
        rates = np.expm1(matrix.data).astype(np.float64) / TOTAL
        sizes = np.diff(matrix.indptr)
        smallest = np.minimum.reduceat(rates, matrix.indptr[:-1][sizes > 0]) if rates.size else rates
        rates /= np.repeat(smallest, sizes[sizes > 0])
        return sparse.csr_matrix((rates, matrix.indices, matrix.indptr), shape=matrix.shape)
    rates = np.expm1(np.asarray(values)).astype(np.float64) / TOTAL
    smallest = np.where(rates > 0, rates, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    return np.divide(rates, smallest, out=np.zeros_like(rates), where=np.isfinite(smallest))


def whole_counts(recovered: Any, rounding: Literal["truncate", "round"]) -> Any:
    """Return recovered counts as int64.

    Parameters
    ----------
    recovered
        As `recover_counts` returns them.
    rounding
        ``truncate``: cast to float32 and cut off, as published, which makes many counts one too small [quirk];
        ``round``: the nearest whole number.
    """

    def whole(counts: np.ndarray) -> np.ndarray:
        cast = counts.astype(np.float32) if rounding == "truncate" else np.rint(counts)
        return cast.astype(np.int64)

    if sparse.issparse(recovered):
        kept = sparse.csr_matrix((whole(recovered.data), recovered.indices, recovered.indptr), shape=recovered.shape)
        kept.eliminate_zeros()
        return kept
    return whole(np.asarray(recovered))
