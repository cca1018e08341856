"""The rates at the bin centres, and what is summed up from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .density import Bins, Density
from .likelihood import TruncatedFit
from .matching import MatchedNull, null_counts
from .nulls import NullName, Nulls

EFDR_NAMES = ("Efdr", "Eleft", "Eright", "Efdrtheo", "Eleft0", "Eright0")
Z2_LEVEL = 0.2
"""Efron's limit for an interesting value."""


@dataclass(frozen=True)
class Rates:
    """Curves at the bin centres, all of shape (n_bins,); densities are on the scale of counts.

    `fdr` and `f0` are of the null asked for, but of maximum likelihood where that is the theoretical one; `chosen` is
    the fdr of the null asked for in any case, and of that are the tail rates and `f1`, the density of the values that
    are not null.
    """

    fdr: np.ndarray
    fdr_theoretical: np.ndarray
    chosen: np.ndarray
    tail_left: np.ndarray
    tail_right: np.ndarray
    f0: np.ndarray
    f0_theoretical: np.ndarray
    f1: np.ndarray
    expected: dict[str, float]


def bin_rates(counted: Bins, density: Density, nulls: Nulls, name: NullName) -> Rates:
    """Return fdr = min(p0 f0 / f, 1), the tail rates, the density of the values that are not null, and expected rates.

    fdr is set to 1 from the outermost bin left of the centre that has 1 to that right of it, and by maximum likelihood
    within one sigma of delta.
    """
    x, f = counted.x, density.f
    shown = nulls.likely if name == "theoretical" else nulls.chosen
    f0 = np.full(len(x), np.nan) if shown is None else _null_density(shown, x, f)
    p0, centre = (np.nan, np.nan) if shown is None else (shown.p0, shown.delta)
    tails = [p0 * f0, nulls.theoretical.p0 * nulls.theoretical.f0]
    fdr, fdr_theoretical = (_one_about(centre, x, np.minimum(tail / f, 1.0)) for tail in tails)
    if name == "mle" and shown is not None:
        core = (x >= shown.delta - shown.sigma) & (x <= shown.delta + shown.sigma)
        fdr[core] = fdr_theoretical[core] = 1.0
    chosen, tail = (fdr_theoretical, tails[1]) if name == "theoretical" else (fdr, tails[0])
    every = f + (counted.counts - counted.fitted)  # values clipped into the end bins are put back
    return Rates(
        fdr=fdr,
        fdr_theoretical=fdr_theoretical,
        chosen=chosen,
        tail_left=np.cumsum(tail) / np.cumsum(f),
        tail_right=(np.cumsum(tail[::-1]) / np.cumsum(f[::-1]))[::-1],
        f0=f0,
        f0_theoretical=nulls.theoretical.f0,
        f1=(1 - chosen) * every,
        expected=_expected_rates(x, centre, every, fdr, fdr_theoretical),
    )


def _null_density(null: MatchedNull | TruncatedFit, x: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Return f0 at the bin centres with the sum of `f`."""
    if isinstance(null, MatchedNull):
        return null.f0
    return null_counts(-(((x - null.delta) / null.sigma) ** 2) / 2, f)


def _one_about(centre: float, x: np.ndarray, fdr: np.ndarray) -> np.ndarray:
    """Set `fdr` to 1 between the outermost bins that have 1: left and right of the centre, or the centre where none."""
    low = x[(x <= centre) & (fdr == 1)].min(initial=centre)
    high = x[(x >= centre) & (fdr == 1)].max(initial=centre)
    return np.where((x >= low) & (x <= high), 1.0, fdr)


def _expected_rates(
    x: np.ndarray, centre: float, every: np.ndarray, fdr: np.ndarray, fdr_theoretical: np.ndarray
) -> dict[str, float]:
    """Return sum fdr f1 / sum f1, in all, left and right of the centre, for both nulls; 1 if all are null."""
    sides = (np.ones(len(x), dtype=bool), x <= centre, x >= centre)
    values = []
    for rate in (fdr, fdr_theoretical):
        weights = [np.where(side, (1 - rate) * every, 0.0) for side in sides]
        values += [float(rate @ weight / weight.sum()) if weight.sum() != 0 else 1.0 for weight in weights]
    return dict(zip(EFDR_NAMES, (1.0 if np.isnan(value) else value for value in values), strict=True))


def level_crossings(x: np.ndarray, fdr: np.ndarray) -> tuple[float, float]:
    """Return where fdr falls to 0.2, left and right of its maximum: R's ``z.2``.

    On each side x is taken as a function of fdr, linear between neighbouring values of fdr. Bins of the same fdr count
    as one point at the mean of their x, as in R's ``approx``; most often those with fdr = 1.

    Parameters
    ----------
    x, fdr
        Bin centres in ascending order and their local fdr, shape (n_bins,). The maximum is the last bin that has it.

    Returns
    -------
    NaN on a side whose end bin is not below 0.2, or where fdr does not reach 0.2.
    """
    top = len(fdr) - 1 - int(np.argmax(fdr[::-1]))
    left, right = slice(None, top + 1), slice(top, None)
    return (
        _crossing(x[left], fdr[left]) if fdr[0] < Z2_LEVEL else np.nan,
        _crossing(x[right], fdr[right]) if fdr[-1] < Z2_LEVEL else np.nan,
    )


def _crossing(x: np.ndarray, fdr: np.ndarray) -> float:
    """Return x at fdr = 0.2, linear between the distinct values of fdr, each at the mean x of its bins."""
    levels, level_of, n_bins = np.unique(fdr, return_inverse=True, return_counts=True)
    means = np.bincount(level_of, weights=x) / n_bins
    return float(np.interp(Z2_LEVEL, levels, means, right=np.nan))


def non_null_distribution(fdr: np.ndarray, f1: np.ndarray) -> np.ndarray:
    """Return the share of f1 with fdr <= 0.01 .. 0.99, of that <= 0.99; shape (99, 2); NaN if none."""
    levels = np.arange(1, 100) / 100
    below = np.array([f1[fdr <= level].sum() for level in levels])
    share = below / below[-1] if below[-1] > 0 else np.full(99, np.nan)
    return np.column_stack([levels, share])
