"""Prediction: the mean of the model's predictions over control cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pertharness import make_prediction, targets_of

from pertharness_gears.conditions import why_not
from pertharness_gears.training import Fitted
from pertharness_gears.upstream import guest, seed_numpy

if TYPE_CHECKING:
    from anndata import AnnData

BATCH = 300
"""Cells at a time; equal to cell-gears' own number of draws, so that memory is the same."""


def predict_gears(fitted: Fitted, controls: AnnData, queries: list[str], seed: int) -> AnnData:
    """Predict the queries whose genes are in the GO graph.

    With the sampling ``upstream`` each query starts from 300 control cells, drawn with replacement and one query after
    the other from numpy's generator, seeded once; with ``all``, from every control cell once.
    """
    reasons = {query: why_not(query, fitted.genes) for query in queries}
    predict = _SAMPLINGS[fitted.sampling]
    with guest():
        seed_numpy(seed)
        fitted.gears.saved_pred.clear()  # otherwise a repeated query would not be drawn again
        means = {query: predict(fitted.gears, list(targets_of(query))) for query in queries if not reasons[query]}
    unanswered = {query: reason for query, reason in reasons.items() if reason}
    return make_prediction(means, controls.var_names, unanswered, notes=fitted.notes)


def _from_draws(gears: Any, targets: list[str]) -> np.ndarray:
    """Return the prediction of cell-gears itself, shape (n_genes,)."""
    return np.asarray(next(iter(gears.predict([targets]).values())), dtype=np.float64)


def _from_all(gears: Any, targets: list[str]) -> np.ndarray:
    """Return the mean over all control cells, shape (n_genes,), accumulated in float64."""
    import torch
    from gears.utils import create_cell_graph_for_prediction
    from torch_geometric.loader import DataLoader

    numbers = {gene: i for i, gene in enumerate(gears.pert_list)}
    index = [numbers[target] for target in targets]
    cells = gears.adata.X[(gears.adata.obs["condition"] == "ctrl").to_numpy()].toarray()
    graphs = [create_cell_graph_for_prediction(cell[None, :], index, targets) for cell in cells]
    model = gears.best_model.to(gears.device).eval()
    total = np.zeros(len(gears.gene_list))
    with torch.no_grad():
        for batch in DataLoader(graphs, BATCH, shuffle=False):
            total += model(batch.to(gears.device)).cpu().numpy().astype(np.float64).sum(axis=0)
    return total / len(cells)


_SAMPLINGS = {"upstream": _from_draws, "all": _from_all}
