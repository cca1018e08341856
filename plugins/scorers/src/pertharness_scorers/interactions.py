"""Genetic interactions: which deviations from additivity are called, and of what class each is.

Definitions: doi 10.1038/s41592-025-02772-6, Methods and Fig. 1e; ``docs/metrics.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pertharness_scorers.locfdr import locfdr
from pertharness_scorers.locfdr.thresholds import Thresholds, nearest_thresholds, tail_thresholds

CLASSES = ("additive", "buffering", "synergistic", "opposite", "other")


@dataclass(frozen=True)
class Call:
    """Empirical null of the deviations from additivity, and the thresholds by kind, ``local`` and ``tail``.

    Attributes
    ----------
    delta, sigma, p0
        Mean, standard deviation and share of the null.
    z2
        Where its local false discovery rate falls to 0.2, below and above.
    n
        Number of values that it was estimated on.
    fdr
        Local false discovery rate, one per value.
    warnings
        Of the estimation.
    """

    thresholds: Mapping[str, Thresholds]
    delta: float
    sigma: float
    p0: float
    z2: tuple[float, float]
    n: int
    fdr: np.ndarray
    warnings: tuple[str, ...]


def call_interactions(deviation: np.ndarray, *, stack: int = 1, level: float = 0.05) -> Call:
    """Estimate the empirical null of the deviations, and from where on they are called interactions.

    ``local``: the positive, and the negative, deviation whose local fdr is nearest `level`, as in the published code.
    ``tail``: where the tail-area fdr p0 N nullmass / count outside is `level`, as the legend of Extended Data Fig. 3
    describes.

    Parameters
    ----------
    deviation
        y - A of all doubles, shape (n,); the first of equally near values is the threshold.
    stack
        How many times all values are taken. The published code takes those of every split, which are the same.
    level
        False discovery rate. The local fdr of a threshold can be far from it, where there is no tail: see `Thresholds`.

    Raises
    ------
    NoNull
        If there are fewer than 500 values, or no null can be estimated.
    """
    values = np.tile(deviation.ravel(), stack)
    null = locfdr(values)
    local, tail = nearest_thresholds(values, null.fdr, level), tail_thresholds(null, values, level)
    return Call(
        {"local": local, "tail": tail}, null.delta, null.sigma, null.p0, null.z2, len(values), null.fdr, null.warnings
    )


def is_called(deviation: np.ndarray, lower: float, upper: float) -> np.ndarray:
    """Return which deviations lie outside [lower, upper]; a threshold that there is not (NaN) calls none."""
    called: np.ndarray = (deviation < lower) | (deviation > upper)
    return called


def classify(effect: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the class of each entry that is taken to deviate from additivity, as an index into `CLASSES`.

    The two single effects of opposite sign, or one of them zero: other. The effect of the double of the opposite sign
    to the additive expectation: opposite. Between 0 and the additive expectation, ends included: buffering. Beyond it:
    synergistic.

    Parameters
    ----------
    effect, first, second
        Change from the control under the double and under each of its singles, log1p CP10k, all of one shape.
    """
    additive = first + second
    # Signs, because a product of two small effects can underflow to 0.
    other = np.sign(first) * np.sign(second) <= 0
    opposite = np.sign(effect) * np.sign(additive) < 0
    buffering = np.abs(effect) <= np.abs(additive)
    kinds = [CLASSES.index(kind) for kind in ("other", "opposite", "buffering")]
    return np.select([other, opposite, buffering], kinds, CLASSES.index("synergistic"))


def composition(classes: np.ndarray) -> list[tuple[str, int, float]]:
    """Return class, count and share of all entries, for each class; the share of no entries is NaN."""
    counts = np.bincount(classes.ravel(), minlength=len(CLASSES))
    shares = counts / (classes.size or np.nan)
    return [(kind, int(n), float(share)) for kind, n, share in zip(CLASSES, counts, shares, strict=True)]
