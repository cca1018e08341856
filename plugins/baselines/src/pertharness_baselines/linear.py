"""Linear: ridge regression from an embedding of perturbations to the change of every gene.

Ahlmann-Eltze, Huber & Anders 2025, doi 10.1038/s41592-025-02772-6, Eq. 1-3. Where the text is silent, as the authors'
code has it: the control is a training column, with a perturbation embedding of zeros unless the embedding has a row for
it, and takes part in the principal components.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pertharness import CONTROL, DataError, Skip, control_mean, make_prediction, targets_of

from pertharness_baselines.components import decompose
from pertharness_baselines.slots import Side, both_sides, genes_with_rows, side_of, training_rows

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@dataclass(frozen=True)
class LinearModel:
    """What a fit leaves: the prediction for p is G W P[p] + offset.

    Attributes
    ----------
    gene
        G, shape (n_covered, k_gene), the rows of the genes that have one.
    covered : numpy.ndarray
        Which genes of the data these are, shape (n_genes,).
    perturbation : Side
        P.
    weights : numpy.ndarray
        W, shape (k_gene, k_perturbation).
    offset : numpy.ndarray
        b + y0, shape (n_covered,), log1p CP10k.
    """

    gene: Any
    covered: np.ndarray
    perturbation: Side
    weights: np.ndarray
    offset: np.ndarray


def fit_linear(
    train: AnnData, embeddings: Mapping[str, pd.DataFrame], k: int = 10, ridge: float = 0.1, variant: str = "bilinear"
) -> LinearModel:
    """Fit change ~ G W P' to the training perturbations that have a row in P, and the control.

    Parameters
    ----------
    train
        One row per training perturbation and one for ``control``, log1p CP10k.
    embeddings
        Slot -> embedding: ``G`` of genes, ``P`` of perturbations; a slot that is left out is of the training data.
    k
        Number of principal components of the training data; where fewer exist (few training perturbations), those.
    ridge
        Penalty of both sides of the regression.
    variant
        ``bilinear`` or ``regression``, see `fit_bilinear` and `fit_regression`.

    Raises
    ------
    DataError
        If `k` is below 1, `ridge` not above 0, or there is no such variant.
    Skip
        If no training perturbation has a row in P, or fewer than two genes have one in G: nothing to learn from. Also
        if the variant ``regression`` is used without P.
    """
    if k < 1 or ridge <= 0:
        raise DataError(f"linear: expected k of at least 1 and ridge above 0, got k={k!r} and ridge={ridge!r}")
    if variant not in _VARIANTS:
        raise DataError(f"linear: variant is {variant!r}; expected {' or '.join(map(repr, _VARIANTS))}")
    return _VARIANTS[variant](train, embeddings, k, ridge)


def fit_bilinear(train: AnnData, embeddings: Mapping[str, pd.DataFrame], k: int, ridge: float) -> LinearModel:
    """Fit Eq. 1-3 of the paper: both sides are given, W is sought. Genes without a row in G are left out."""
    gene, perturbation = both_sides(train, embeddings, k)
    covered, rows = genes_with_rows(train, gene), training_rows(train, perturbation)
    labels = [*(str(train.obs["perturbation"].iloc[row]) for row in rows), CONTROL]
    expression = np.vstack([train.X[rows], control_mean(train)])[:, covered]
    offset = expression.mean(axis=0)  # of the change and y0 together: y0 is the same in all rows
    G = gene.values[[gene.rows[name] for name in train.var_names[covered]]]
    weights = ridge_weights(G, (expression - offset).T, perturbation.of(labels), ridge)
    return LinearModel(G, covered, perturbation, weights, offset)


def fit_regression(train: AnnData, embeddings: Mapping[str, pd.DataFrame], k: int, ridge: float) -> LinearModel:
    """Fit the authors' other model of transfer: components of the training changes, regressed on [1, P].

    With the training means of all perturbations (control included) as observations, U their first `k` principal axes,
    s their scores and m their mean: s ~ a + B P, penalty n ridge^4 of B for n perturbations with a row in P, none of a;
    prediction U (a + B P) + m. From ``run_transfer_perturbation_prediction.R`` of the paper's code; the penalty's form
    is that of R's lemur. The control is one of the n where P has a row for it.

    Raises
    ------
    DataError
        If the slot G is filled.
    Skip
        If the slot P is not: the authors' script has always a P of another screen, and with components of the training
        data the regression extrapolates far beyond what it has seen.
    """
    if "G" in embeddings:
        raise DataError("linear: the variant 'regression' has no slot G: its genes lie along axes of the training data")
    if "P" not in embeddings:
        raise Skip(
            "the variant 'regression' has no embedding in the slot P, which the published model takes from another "
            "screen; expected e.g. linear[P=transfer:DATASET, variant=regression]"
        )
    perturbation = side_of(embeddings["P"])
    rows = training_rows(train, perturbation)
    labels = [str(label) for label in train.obs["perturbation"]]
    rows += [row for row, label in enumerate(labels) if label == CONTROL and CONTROL in perturbation.rows]
    scores, axes = decompose(train.X, k)
    embedded = perturbation.of([labels[row] for row in rows])
    embedded = embedded.toarray() if hasattr(embedded, "toarray") else embedded
    design = np.column_stack([np.ones(len(rows)), embedded])
    penalty = len(rows) * ridge**4 * np.diag([0.0] + [1.0] * embedded.shape[1])
    coefficients = np.linalg.solve(design.T @ design + penalty, design.T @ scores[rows])
    offset = axes @ coefficients[0] + train.X.mean(axis=0)
    return LinearModel(axes, np.ones(train.n_vars, dtype=bool), perturbation, coefficients[1:].T, offset)


_VARIANTS: dict[str, Callable[..., LinearModel]] = {"bilinear": fit_bilinear, "regression": fit_regression}


def ridge_weights(gene: Any, change: np.ndarray, perturbation: Any, ridge: float) -> np.ndarray:
    """Return W = (G'G + ridge I)^-1 G' Y P (P'P + ridge I)^-1, shape (k_gene, k_perturbation).

    Parameters
    ----------
    gene
        G, shape (n_genes, k_gene), dense or sparse.
    change
        Y, shape (n_genes, n_columns), centred by row.
    perturbation
        P, shape (n_columns, k_perturbation), dense or sparse.
    ridge
        Of both sides, above 0.
    """
    half = _divide_by_gram(gene, ridge, (gene.T @ change) @ perturbation)
    weights: np.ndarray = _divide_by_gram(perturbation, ridge, half.T).T
    return weights


def _divide_by_gram(side: Any, ridge: float, right: np.ndarray) -> np.ndarray:
    """Return (M'M + ridge I)^-1 R."""
    from scipy import sparse
    from scipy.sparse.linalg import splu

    gram = side.T @ side
    if sparse.issparse(gram):
        divided: np.ndarray = splu(sparse.csc_matrix(gram + ridge * sparse.identity(gram.shape[0]))).solve(right)
    else:
        divided = np.linalg.solve(gram + ridge * np.eye(len(gram)), right)
    return divided


def predict_linear(model: LinearModel, genes: list[str], queries: list[str]) -> AnnData:
    """Predict G W P[query] + b + y0 for queries with a row in P; the others stay unanswered, with the reason.

    Genes without a row in G are columns of NaN.
    """
    row_of = model.perturbation.rows
    answered = [query for query in queries if query in row_of]
    unanswered = {query: _reason(query, model.perturbation) for query in queries if query not in row_of}
    means = np.full((len(answered), len(genes)), np.nan)
    if answered:
        means[:, model.covered] = (model.perturbation.of(answered) @ model.weights.T) @ model.gene.T + model.offset
    lacking = [gene for gene, is_covered in zip(genes, model.covered, strict=True) if not is_covered]
    missing = dict.fromkeys(lacking, "it has no row in the embedding G")
    return make_prediction(dict(zip(answered, means, strict=True)), genes, unanswered, missing)


def _reason(query: str, perturbation: Side) -> str:
    """Return why a query is not answered."""
    if len(targets_of(query)) != 1:
        return "the linear model answers single perturbations only"
    return f"the target {query} {perturbation.lack}"
