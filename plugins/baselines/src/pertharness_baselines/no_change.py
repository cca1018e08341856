"""No change: a perturbation does nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pertharness import control_mean, make_prediction

if TYPE_CHECKING:
    from anndata import AnnData


def fit_no_change(train: AnnData) -> np.ndarray:
    """Return the control mean y0, shape (n_genes,), log1p CP10k."""
    return control_mean(train)


def predict_no_change(model: np.ndarray, genes: list[str], queries: list[str]) -> AnnData:
    """Predict y0 for every query."""
    return make_prediction(dict.fromkeys(queries, model), genes)
