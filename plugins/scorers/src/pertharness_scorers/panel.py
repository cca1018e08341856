"""The gene panel that scores are computed on: the genes with the highest control mean."""

from __future__ import annotations

import numpy as np


def expression_rank(values: np.ndarray) -> np.ndarray:
    """Return each gene's rank by descending value, from 1; ties in data order.

    Agrees with R's ``rank(desc(values), ties.method = "first")``.

    Parameters
    ----------
    values
        Shape (n_genes,), e.g. the control mean, log1p CP10k.
    """
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[np.argsort(-np.asarray(values), kind="stable")] = np.arange(1, len(values) + 1)
    return ranks


def top_genes(control_mean: np.ndarray, n: int) -> np.ndarray:
    """Return the indices, in data order, of the `n` genes with the highest control mean; of all if fewer.

    Parameters
    ----------
    control_mean
        Mean of the observed controls of the training side, shape (n_genes,); never of a prediction, which could choose
        its own panel.
    n
        Size of the panel.
    """
    return np.flatnonzero(expression_rank(control_mean) <= n)
