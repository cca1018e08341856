"""Mean: every perturbation does what the training perturbations do on average."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pertharness import CONTROL, DataError, make_prediction

if TYPE_CHECKING:
    from anndata import AnnData


def fit_mean(train: AnnData, ctrl_included: bool = False) -> np.ndarray:
    """Return the unweighted mean of the training perturbations' pseudobulks, shape (n_genes,), log1p CP10k.

    Parameters
    ----------
    train
        One row per training perturbation and one for ``control``.
    ctrl_included
        Count the control as one more perturbation. The paper's text leaves it out; the authors' code counts it: this is
        their linear model with embeddings of zeros, whose prediction is its centre b + y0.

    Raises
    ------
    DataError
        If there is no training perturbation.
    """
    perturbed = np.asarray(train.obs["perturbation"] != CONTROL)
    if not perturbed.any():
        raise DataError(f"the training data holds no perturbation but {CONTROL!r}; a mean needs at least one")
    mean: np.ndarray = (train.X if ctrl_included else train.X[perturbed]).mean(axis=0)
    return mean


def predict_mean(model: np.ndarray, genes: list[str], queries: list[str]) -> AnnData:
    """Predict the training mean for every query."""
    return make_prediction(dict.fromkeys(queries, model), genes)
