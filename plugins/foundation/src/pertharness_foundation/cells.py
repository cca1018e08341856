"""The cells of a dataset as networks are given them: those of which something was measured, with their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness_foundation.counts import check_log_values

if TYPE_CHECKING:
    from anndata import AnnData


def read_cells(adata: AnnData, notes: list[str], what: str) -> tuple[Any, np.ndarray]:
    """Return expression, CSR float32 without stored zeros, and labels of the cells that are not empty.

    Parameters
    ----------
    adata
        Canonical, level cells.
    notes
        Gets a line if cells are left out.
    what
        Which cells these are, for that line.

    Raises
    ------
    DataError
        If values are no log1p of counts per 10 000.
    """
    from scipy import sparse

    expression = sparse.csr_matrix(adata.X, dtype=np.float32)
    check_log_values(expression)
    if not expression.data.all():  # zeros that are stored
        expression = expression.copy()  # else those of the data set would go, too
        expression.eliminate_zeros()
    filled = np.diff(expression.indptr) > 0
    labels = adata.obs["perturbation"].astype(str).to_numpy(dtype=object)
    if not filled.all():
        notes.append(f"{int((~filled).sum())} of {len(filled)} {what} cells are empty and are left out")
        expression, labels = expression[filled], labels[filled]
    return expression, labels
