"""Additive: a double does what its two singles do, added up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pertharness import CONTROL, control_mean, make_prediction, targets_of

if TYPE_CHECKING:
    from anndata import AnnData


def fit_additive(train: AnnData) -> dict[str, np.ndarray]:
    """Return the mean expression of ``control`` and of each training single, each of shape (n_genes,), log1p CP10k."""
    labels = list(train.obs["perturbation"])
    means = {label: train.X[row] for row, label in enumerate(labels) if len(targets_of(label)) == 1}
    return {CONTROL: control_mean(train), **means}


def predict_additive(model: dict[str, np.ndarray], genes: list[str], queries: list[str]) -> AnnData:
    """Predict y_A + y_B - y0; with n targets, the sum of their singles less (n - 1) y0.

    An additive expectation needs every single: a query with a target that was not trained alone is left unanswered.
    """
    means, unanswered = {}, {}
    for query in queries:
        targets = targets_of(query)
        missing = [target for target in targets if target not in model]
        if len(targets) < 2:
            unanswered[query] = "an unseen single has no additive expectation"
        elif missing:
            unanswered[query] = f"not among the training singles: {', '.join(missing)}"
        else:
            means[query] = sum(model[target] for target in targets) - (len(targets) - 1) * model[CONTROL]
    return make_prediction(means, genes, unanswered)
