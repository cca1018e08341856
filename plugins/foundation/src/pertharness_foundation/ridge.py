"""The ridge decoder: from an embedding of a condition to its mean expression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pertharness import DataError

ALPHA = 1.0
"""Penalty of the published scripts, the default of scikit-learn's Ridge."""


@dataclass(frozen=True)
class Ridge:
    """A fitted decoder.

    Attributes
    ----------
    coefficients
        Shape (n_targets, n_dimensions).
    intercept
        Shape (n_targets,).
    """

    coefficients: np.ndarray
    intercept: np.ndarray

    def predict(self, embedding: np.ndarray) -> np.ndarray:
        """Return the targets, shape (n, n_targets), of an embedding of shape (n, n_dimensions)."""
        predicted: np.ndarray = np.asarray(embedding, dtype=np.float64) @ self.coefficients.T + self.intercept
        return predicted


def fit_ridge(embedding: np.ndarray, targets: np.ndarray, alpha: float = ALPHA) -> Ridge:
    """Return the linear map from embeddings to targets of smallest squared error plus penalty, with an intercept.

    With X and Y centred, the coefficients W minimise |Y - X W|^2 + alpha |W|^2; the intercept, which is not penalised,
    passes through the means. Solved in float64, in the smaller of the two dimensions of X.

    Parameters
    ----------
    embedding
        Shape (n, n_dimensions).
    targets
        Shape (n, n_targets).
    alpha
        Above 0.

    Raises
    ------
    DataError
        If there is no row, or an entry that is no number.
    """
    from scipy import linalg  # not at the top: a card is read without it

    x, y = np.asarray(embedding, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if alpha <= 0:
        raise DataError(f"the penalty of the ridge decoder is {alpha!r}; expected a number above 0")
    if not len(x):
        raise DataError("the ridge decoder has no condition to be fitted on; it needs at least one with an embedding")
    if len(x) != len(y):
        raise ValueError(f"{len(x)} embeddings and {len(y)} targets")
    for name, values in (("embedding", x), ("expression", y)):
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
            raise DataError(f"the {name} of condition {row} has an entry that is no number; the decoder needs numbers")
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x_centred, y_centred = x - x_mean, y - y_mean
    n, dimensions = x.shape
    if n < dimensions:
        gram = x_centred @ x_centred.T + alpha * np.eye(n)
        weights = x_centred.T @ linalg.solve(gram, y_centred, assume_a="pos")
    else:
        gram = x_centred.T @ x_centred + alpha * np.eye(dimensions)
        weights = linalg.solve(gram, x_centred.T @ y_centred, assume_a="pos")
    return Ridge(weights.T, y_mean - x_mean @ weights)
