"""Linear: ridge regression from principal components of the perturbed gene to those of every gene.

Ahlmann-Eltze, Huber & Anders 2025, doi 10.1038/s41592-025-02772-6, Eq. 1-3, both embeddings from the training data.
Where the text is silent, as the authors' code has it: the control is a training column with a perturbation embedding
of zeros, and takes part in the principal components.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pertharness import DataError, Skip, control_mean, make_prediction, targets_of

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class LinearModel:
    """What a fit leaves: with G the rows of `embedding`, a prediction for gene p is G W G[p] + offset.

    Attributes
    ----------
    embedding : dict of str to numpy.ndarray
        Gene -> its principal components, shape (k,).
    weights : numpy.ndarray
        W, shape (k, k).
    offset : numpy.ndarray
        b + y0: the mean of the training columns, shape (n_genes,), log1p CP10k.
    """

    embedding: dict[str, np.ndarray]
    weights: np.ndarray
    offset: np.ndarray


def principal_components(matrix: np.ndarray, k: int) -> np.ndarray:
    """Give the scores of the first `k` principal components, observations in rows; as many as exist if fewer do."""
    left, singular, _ = np.linalg.svd(matrix - matrix.mean(axis=0), full_matrices=False)
    scores: np.ndarray = left[:, :k] * singular[:k]
    return scores


def ridge_weights(gene: np.ndarray, change: np.ndarray, perturbation: np.ndarray, ridge: float) -> np.ndarray:
    """Give W = (G'G + ridge I)^-1 G' Y P (P'P + ridge I)^-1, shape (k_gene, k_perturbation).

    Parameters
    ----------
    gene
        G, shape (n_genes, k_gene).
    change
        Y, shape (n_genes, n_columns), centred by row.
    perturbation
        P, shape (n_columns, k_perturbation).
    ridge
        Of both sides, above 0.
    """
    gene_side = gene.T @ gene + ridge * np.eye(gene.shape[1])
    perturbation_side = perturbation.T @ perturbation + ridge * np.eye(perturbation.shape[1])
    half = np.linalg.solve(gene_side, gene.T @ change @ perturbation)
    weights: np.ndarray = np.linalg.solve(perturbation_side, half.T).T
    return weights


def fit_linear(train: AnnData, k: int = 10, ridge: float = 0.1) -> LinearModel:
    """Fit change ~ G W P' to the training singles whose target is a gene of the data, and the control.

    Parameters
    ----------
    train
        One row per training perturbation and one for ``control``, log1p CP10k.
    k
        Number of principal components; where fewer exist (few training perturbations), those.
    ridge
        Penalty of both sides of the regression.

    Raises
    ------
    DataError
        If `k` is below 1 or `ridge` is not above 0.
    Skip
        If no training single has a target among the genes: there is nothing to learn from.
    """
    if k < 1 or ridge <= 0:
        raise DataError(f"linear: expected k of at least 1 and ridge above 0, got k={k!r} and ridge={ridge!r}")
    genes, labels, y0 = list(train.var_names), list(train.obs["perturbation"]), control_mean(train)
    scores = principal_components(train.X.T, k)
    embedding = dict(zip(genes, scores, strict=True))
    columns = [(train.X[row], embedding[label]) for row, label in enumerate(labels) if label in embedding]
    if not columns:
        raise Skip("no training perturbation is a single whose target is among the genes")
    columns.append((y0, np.zeros(scores.shape[1])))
    expression, perturbation = (np.array(side) for side in zip(*columns, strict=True))
    offset = expression.mean(axis=0)
    weights = ridge_weights(scores, (expression - offset).T, perturbation, ridge)
    return LinearModel(embedding, weights, offset)


def predict_linear(model: LinearModel, genes: list[str], queries: list[str]) -> AnnData:
    """Predict G W G[target] + b + y0 for single perturbations of a gene of the data; the others stay unanswered."""
    scores = np.array([model.embedding[gene] for gene in genes])
    means, unanswered = {}, {}
    for query in queries:
        targets = targets_of(query)
        if len(targets) != 1:
            unanswered[query] = "the linear model answers single perturbations only"
        elif query not in model.embedding:
            unanswered[query] = f"the target {query} is not among the genes, so it has no embedding"
        else:
            means[query] = scores @ model.weights @ model.embedding[query] + model.offset
    return make_prediction(means, genes, unanswered)
