"""Thresholds on values from their local false discovery rate, or from the tails of the null."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .estimate import LocalFdr

NEAR = 0.01
"""A local fdr so far from the level wanted is still called near it."""
NAN = float("nan")


@dataclass(frozen=True)
class Thresholds:
    """An upper and a lower threshold; values strictly outside are called.

    `rate_at_*` is the false discovery rate, local or of the tail, at the threshold; `n_above` and `n_below` count the
    values called; `*_near`: whether the rate is near the requested level. Where a side has no threshold: NaN, 0,
    False.
    """

    upper: float
    lower: float
    rate_at_upper: float
    rate_at_lower: float
    n_above: int
    n_below: int
    upper_near: bool
    lower_near: bool


def nearest_thresholds(values: np.ndarray, fdr: np.ndarray, level: float = 0.05) -> Thresholds:
    """Return the positive and the negative value whose local fdr is nearest `level`; the first in data order on ties.

    There is such a value wherever there is a positive (negative) one, tail or not: `upper_near` and `lower_near` tell
    whether its fdr is within 0.01 of `level`. The rule of doi 10.1038/s41592-025-02772-6, published code.

    Parameters
    ----------
    values, fdr
        Shape (n,); `fdr` as from `locfdr`.
    """
    values, fdr = np.asarray(values, dtype=float), np.asarray(fdr, dtype=float)
    distance = np.abs(fdr - level)
    picked = {side: _first_nearest(distance, side * values > 0) for side in (1, -1)}
    near = {side: row is not None and bool(distance[row] <= NEAR) for side, row in picked.items()}
    upper, lower = (NAN if row is None else float(values[row]) for row in picked.values())
    at_upper, at_lower = (NAN if row is None else float(fdr[row]) for row in picked.values())
    return Thresholds(
        upper=upper,
        lower=lower,
        rate_at_upper=at_upper,
        rate_at_lower=at_lower,
        n_above=int((values > upper).sum()),
        n_below=int((values < lower).sum()),
        upper_near=near[1],
        lower_near=near[-1],
    )


def _first_nearest(distance: np.ndarray, candidates: np.ndarray) -> int | None:
    """Return the first row with the smallest distance among the candidates."""
    rows = np.flatnonzero(candidates)
    return int(rows[np.argmin(distance[rows])]) if len(rows) else None


def tail_thresholds(result: LocalFdr, values: np.ndarray, level: float = 0.05) -> Thresholds:
    """Return, for each tail, the threshold nearest the centre beyond which the false discovery rate is at most `level`.

    The rate beyond t is p0 N P0(Z > t) / #(values > t), with P0 the null of `result`; for the lower tail likewise with
    < t. Candidates are the values that are positive and above delta (negative and below) and have values beyond them.
    Of those with a rate of at most `level` the innermost is taken, as Benjamini and Hochberg's step-up rule does; there
    may be candidates further out with a higher rate. No candidate at or below `level`: no threshold on that side.
    """
    values = np.asarray(values, dtype=float)
    right = result.sigma_right / (result.sigma + result.sigma_right)  # the mass of the null above delta
    upper, at_upper, n_above = _upper_tail(values, result.delta, result.sigma_right, 2 * right * result.p0, level)
    lower, at_lower, n_below = _upper_tail(-values, -result.delta, result.sigma, 2 * (1 - right) * result.p0, level)
    return Thresholds(
        upper=upper,
        lower=-lower,
        rate_at_upper=at_upper,
        rate_at_lower=at_lower,
        n_above=n_above,
        n_below=n_below,
        upper_near=n_above > 0,
        lower_near=n_below > 0,
    )


def _upper_tail(
    values: np.ndarray, delta: float, sigma: float, weight: float, level: float
) -> tuple[float, float, int]:
    """Return the threshold, its rate and the number of values above it; NaN, NaN and 0 if there is none.

    Above delta the null has the density of `weight` N(delta, sigma^2), relative to all values.
    """
    from scipy.special import ndtr

    ordered = np.sort(values)
    candidates = ordered[(ordered > 0) & (ordered > delta)]
    above = len(ordered) - np.searchsorted(ordered, candidates, side="right")
    rate = weight * len(values) * ndtr(-(candidates - delta) / sigma) / np.maximum(above, 1)
    rows = np.flatnonzero((above > 0) & (rate <= level))
    if not len(rows):
        return NAN, NAN, 0
    return float(candidates[rows[0]]), float(rate[rows[0]]), int(above[rows[0]])
