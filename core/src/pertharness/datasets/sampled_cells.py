"""Which cells of a file are looked at where a look at all of them would take too long."""

from __future__ import annotations

import numpy as np

from pertharness.datasets.scale import SAMPLED_CELLS

MOST_FOR_ALL = 20_000
"""Cells up to which all are looked at: some seconds even where 20 000 genes are stored densely."""
_BLOCKS = 128
"""Runs of neighbours, which are read together: they cost little in a compressed file and reach each hundredth of it."""


def draw_cells(n_cells: int) -> np.ndarray | None:
    """Return which cells to look at: runs of neighbours at even distances over the whole file.

    The same cells are drawn each time; nothing is random.

    Parameters
    ----------
    n_cells
        How many there are.

    Returns
    -------
    ndarray or None
        Their numbers, ascending, at least 10 000 of them, the first and the last among them; None: all.
    """
    if n_cells <= MOST_FOR_ALL:
        return None
    length = -(-SAMPLED_CELLS // _BLOCKS)
    starts = np.linspace(0, n_cells - length, _BLOCKS).astype(np.int64)
    return np.asarray(starts[:, None] + np.arange(length)).ravel()
