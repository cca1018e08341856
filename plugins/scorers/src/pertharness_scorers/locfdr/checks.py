"""What `locfdr` takes, and the words in which it refuses."""

from __future__ import annotations

import numpy as np

from .likelihood import Quartiles
from .no_null import NoNull

NULLS = ("mle", "theoretical", "central_matching", "split")
MINIMUM = 500
"""Fewer values do not fill a histogram of 119 bins well enough to tell null from not null."""

SCALES = (1e-30, 1e30)
"""The fourth moments are needed; far outside, they are 0 or infinite."""


def check_options(null: str, bins: int, df: int, pct: float) -> None:
    """Check the options of `locfdr`.

    Raises
    ------
    ValueError
        If one is out of its range; the message names it.
    """
    if null not in NULLS:
        raise ValueError(f"locfdr: no null {null!r}; expected one of {', '.join(NULLS)}")
    if df < 1:
        raise ValueError(f"locfdr: expected df of at least 1, got {df!r}")
    if bins < df + 5:
        raise ValueError(f"locfdr: expected at least df + 5 = {df + 5} bins for df={df}, got {bins!r}")
    if not -1 <= pct < 0.25:
        raise ValueError(f"locfdr: expected pct from -1 to below 0.25, the share clipped at each end, got {pct!r}")


def checked_values(values: np.ndarray) -> np.ndarray:
    """Return the values as float64.

    Raises
    ------
    NoNull
        If they are not a vector of at least 500 finite values, all equal, or of an absurd scale.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1:
        raise NoNull(f"expected a vector of values, got shape {values.shape}", "flatten it")
    if len(values) < MINIMUM:
        raise NoNull(f"expected at least {MINIMUM} values to estimate a null from, got {len(values)}", "add values")
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.argmin(finite))
        raise NoNull(
            f"{int((~finite).sum())} of {len(values)} values are NaN or infinite (the first: "
            f"{float(values[row])!r} at {row})",
            "leave out what is not defined",
        )
    if values.min() == values.max():
        raise NoNull(f"all {len(values)} values are equal ({float(values[0])!r})", "there is nothing to test")
    if not SCALES[0] < np.abs(values).max() < SCALES[1]:
        raise NoNull(
            f"the largest value is {np.abs(values).max():.3g} in size, where powers of values leave float64",
            "bring them to a scale of about 1",
        )
    return values


def quartiles_of(values: np.ndarray) -> Quartiles:
    """Return the quartiles.

    Raises
    ------
    NoNull
        If half of the values are equal: the null has no width.
    """
    quartiles = Quartiles(*(float(quartile) for quartile in np.quantile(values, [0.25, 0.5, 0.75])))
    if quartiles.low == quartiles.high:
        share = float(np.mean(values == quartiles.median))
        raise NoNull(
            f"{100 * share:.3g} % of the {len(values)} values equal {quartiles.median!r}, and so do the quartiles; a "
            "null needs values that vary about the median",
            "leave out entries that are exactly equal",
        )
    return quartiles


def outliers(values: np.ndarray, quartiles: Quartiles, bins: int) -> tuple[str, str]:
    """Name the far outliers that leave too few bins to the other values, as the end of a cause, and say what to do.

    Values within (bins - 1) / 8 interquartile ranges of the median would have bins of at most a quarter of that range:
    the outliers are those beyond.
    """
    distance = np.abs(values - quartiles.median)
    far = np.flatnonzero(distance > (bins - 1) / 8 * (quartiles.high - quartiles.low))
    if not len(far):
        return "", "clip the tails with pct (e.g. pct=0.001), or raise bins"
    shown = ", ".join(f"{value:.6g}" for value in values[far[np.argsort(-distance[far], kind="stable")[:5]]])
    more = ", ..." if len(far) > 5 else ""
    return (
        f": far outliers stretch the range ({len(far)}: {shown}{more})",
        "remove them, clip them with pct (e.g. pct=0.001), or raise bins",
    )
