"""Choose cells of a large file for checks that would take too long on all cells."""

from __future__ import annotations

import numpy as np

from pertharness.datasets.scale import SAMPLED_CELLS

MOST_FOR_ALL = 20_000
"""Largest number of cells that are all checked; takes some seconds even for 20 000 genes in a dense matrix."""
_BLOCKS = 128
"""Number of runs of neighbouring cells, which are fast to read from a compressed file and cover all parts of it."""


def draw_cells(n_cells: int) -> np.ndarray | None:
    """Return the cells to check: runs of neighbours at even distances over the whole file.

    The choice is deterministic.

    Parameters
    ----------
    n_cells
        Number of cells in the file.

    Returns
    -------
    ndarray or None
        At least 10 000 indices, ascending, including the first and the last cell; None for all cells.
    """
    if n_cells <= MOST_FOR_ALL:
        return None
    length = -(-SAMPLED_CELLS // _BLOCKS)
    starts = np.linspace(0, n_cells - length, _BLOCKS).astype(np.int64)
    return np.asarray(starts[:, None] + np.arange(length)).ravel()
