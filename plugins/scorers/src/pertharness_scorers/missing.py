"""Genes that a model does not predict: which they are, and what stands in for them.

A gene is missing where its column is NaN for every answered query. Any other NaN is a broken answer, not a gene.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pertharness import CONTROL

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def fill_missing(prediction: AnnData, train: AnnData) -> tuple[np.ndarray, np.ndarray]:
    """Return a prediction whose missing genes have the values of the ``mean`` baseline.

    Parameters
    ----------
    prediction
        A row per answered query, shape (n_answered, n_genes), log1p CP10k.
    train
        Means of the training conditions; the control among them is not averaged.

    Returns
    -------
    matrix : numpy.ndarray
        Shape (n_answered, n_genes), float64. Not a copy where no gene is missing: do not write to it. A prediction
        that has no value at all stays as it is.
    missing : numpy.ndarray
        Shape (n_genes,), whether the model does not predict the gene; nowhere if nothing was answered.
    """
    matrix = np.asarray(prediction.X, dtype=np.float64)
    missing = np.zeros(matrix.shape[1], dtype=bool)
    if len(matrix):
        # The first row shows all candidates; most predictions have none, and the matrix is not gone over.
        candidates = np.flatnonzero(np.isnan(matrix[0]))
        missing[candidates] = np.isnan(matrix[:, candidates]).all(axis=0)
    if missing.any() and not missing.all():
        matrix = matrix.copy()
        matrix[:, missing] = mean_prediction(train)[missing]
    return matrix, missing


def mean_prediction(train: AnnData, *, control: np.ndarray | None = None) -> np.ndarray:
    """Return the prediction of the ``mean`` baseline: the unweighted mean of the training conditions, without control.

    Parameters
    ----------
    train
        Means of the training conditions, log1p CP10k.
    control
        Shape (n_genes,): counted as one more condition. That is b + y0 of the published linear model, whose centre
        includes the control.

    Returns
    -------
    numpy.ndarray
        Shape (n_genes,); NaN if there is nothing to average.
    """
    rows = np.flatnonzero((train.obs["perturbation"] != CONTROL).to_numpy())
    parts = [np.asarray(train.X, dtype=np.float64)[rows]] + ([] if control is None else [control[None]])
    conditions = np.concatenate(parts) if len(parts) > 1 else parts[0]
    mean: np.ndarray = conditions.mean(axis=0) if len(conditions) else np.full(train.n_vars, np.nan)
    return mean


def gene_coverage(genes: np.ndarray, missing: np.ndarray) -> pd.DataFrame:
    """Return one row: the genes of the panel, how many of them the model predicts, the names of those that it does not.

    Parameters
    ----------
    genes, missing
        Names of the panel's genes and whether each is missing, shape (n_panel,).
    """
    import pandas as pd

    names = " ".join(map(str, genes[missing]))
    return pd.DataFrame({"n_panel": [len(genes)], "n_genes": [int((~missing).sum())], "missing": [names]})
