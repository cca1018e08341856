"""The three metrics, for many perturbations at once.

Each takes the predictions yhat and observations y of the panel, shape (n_perturbations, n_panel), the control mean y0
of the panel, shape (n_panel,), and `keep`, which genes count for which perturbation, shaped like yhat; and gives one
value per perturbation, NaN where it is undefined. Definitions: doi 10.1038/s41592-025-02772-6, Methods.
"""

from __future__ import annotations

import numpy as np

ZERO = 1e-6
"""A difference of log1p CP10k values up to this is none: float32 holds values below 16 to 5e-7."""


def l2(yhat: np.ndarray, y: np.ndarray, y0: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Return sqrt(sum (yhat - y)^2); no 1/n, although the paper's text calls it RMSE."""
    squares = np.where(keep, (yhat - y) ** 2, 0.0).sum(axis=1)
    return np.where(keep.any(axis=1), np.sqrt(squares), np.nan)


def pearson(yhat: np.ndarray, y: np.ndarray, y0: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Return the correlation of yhat and y."""
    return _correlation(yhat, y, keep)


def pearson_delta(yhat: np.ndarray, y: np.ndarray, y0: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Return the correlation of yhat - y0 and y - y0; undefined where no predicted change is above `ZERO`."""
    change = yhat - y0
    # Setting single small changes to 0 as well would move the values of other models by 1e-8 off the published code's.
    no_change = ((np.abs(change) <= ZERO) | ~keep).all(axis=1)
    return np.where(no_change, np.nan, _correlation(change, y - y0, keep))


def _correlation(a: np.ndarray, b: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation of each pair of rows over the genes kept; NaN where either side is constant."""
    a, b = _centre(a, keep), _centre(b, keep)
    constant = (np.abs(a) <= ZERO).all(axis=1) | (np.abs(b) <= ZERO).all(axis=1)
    norms = np.sqrt((a * a).sum(axis=1)) * np.sqrt((b * b).sum(axis=1))
    value = (a * b).sum(axis=1) / np.where(constant, np.nan, norms)
    # Rounding can lead 1e-16 past the ends.
    correlation: np.ndarray = np.clip(value, -1.0, 1.0)
    return correlation


def _centre(values: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Take from each row its mean over the genes kept; 0 for the others."""
    means = np.where(keep, values, 0.0).sum(axis=1) / np.maximum(keep.sum(axis=1), 1)
    return np.where(keep, values - means[:, None], 0.0)
