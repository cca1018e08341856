"""Counterfactuals: the predicted expression of the control cells under a perturbation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness_cpa.training import Trained, quiet

if TYPE_CHECKING:
    from anndata import AnnData

BATCH = 2048
"""Cells predicted at a time, as published; the result does not depend on it."""
ROWS = 512
"""Cells that are rescaled at a time, so that float64 copies stay small."""


def drawn_controls(n_controls: int, n_cells: int, seed: int) -> np.ndarray:
    """Return the controls to start from: all of them, or `n_cells` drawn with replacement, as published."""
    if not n_cells:
        return np.arange(n_controls)
    return np.random.default_rng(seed).integers(0, n_controls, n_cells)


def predict_counts(trained: Trained, cells: AnnData, counts: Any, targets: Sequence[Sequence[str]]) -> np.ndarray:
    """Return the mean counts that upstream predicts for cells.

    Parameters
    ----------
    cells
        Some rows of the AnnData that upstream was set up with; a copy is worked on.
    counts
        Of the cells to start from, CSR, shape (n_cells, n_genes).
    targets
        For each cell the genes that are perturbed, one or two, each known to upstream.

    Returns
    -------
    ndarray
        Shape (n_cells, n_genes), float32; each row sums to the total of its cell in `counts`.
    """
    batch = cells.copy()
    batch.X = counts
    # Same encoding as in upstream's setup: numbers of the genes in ascending order, 0 for none.
    codes = [sorted(trained.encoder[target] for target in genes) for genes in targets]
    width = batch.obsm["perts"].shape[1]
    batch.obsm["perts"] = np.array([[*code, *[0] * (width - len(code))] for code in codes], dtype=int)
    batch.obsm["perts_doses"] = (batch.obsm["perts"] > 0).astype(float)
    with quiet():
        trained.cpa.predict(batch, batch_size=BATCH)
    predicted: np.ndarray = batch.obsm["CPA_pred"]
    return predicted


def mean_expression(counts: np.ndarray, totals: np.ndarray, output_scale: str) -> np.ndarray:
    """Return the mean of predicted cells.

    Parameters
    ----------
    counts
        Shape (n_cells, n_genes).
    totals
        Shape (n_cells,): what a cell's expression sums to before log1p; 10 000 if the data have all of its genes.
    output_scale
        ``cp10k``: mean of log1p of counts at these totals, the scale of the data. ``upstream``: mean of log1p of the
        counts as they are, which the published script wrote down [quirk: the truth beside it was log1p CP10k].

    Returns
    -------
    ndarray
        Shape (n_genes,), float64.
    """
    total = np.zeros(counts.shape[1])
    for start in range(0, len(counts), ROWS):
        rows = counts[start : start + ROWS].astype(np.float64)
        if output_scale == "cp10k":
            rows *= (totals[start : start + ROWS] / rows.sum(axis=1))[:, None]
        total += np.log1p(rows).sum(axis=0)
    mean: np.ndarray = total / len(counts)
    return mean
