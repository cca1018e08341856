"""Estimate the errors of values that were rounded when they were computed or stored."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_Error = Callable[[np.ndarray], np.ndarray]
_STEPS = 4.0
"""Error of a normalised logarithm that was computed in float32, in half units in the last place."""


def rounding_errors(rows: list[np.ndarray]) -> list[np.ndarray]:
    """Return the largest possible rounding error of each value, in the shapes of `rows`.

    This is the error of float32, which nearly all expression files use at some time; or a larger one if all values are
    numbers of float16, of bfloat16, or of a few decimals.

    Parameters
    ----------
    rows
        Non-zero values of one file, float64.
    """
    together = np.concatenate(rows) if rows else np.empty(0)
    coarse = _coarse_error(together)
    return [np.maximum(_STEPS * 2.0**-24 * row, coarse(row)) for row in rows]


def _none(values: np.ndarray) -> np.ndarray:
    """Return 0 for each value."""
    return np.zeros(len(values))


def _coarse_error(values: np.ndarray) -> _Error:
    """Return a function that gives the rounding error of values, as detected from the values themselves."""
    if not len(values):
        return _none
    with np.errstate(over="ignore"):
        if (values.astype(np.float16) == values).all():
            return lambda x: np.spacing(x.astype(np.float16)).astype(np.float64) / 2
    if not (values.astype(np.float32).view(np.uint32) & 0xFFFF).any():
        return lambda x: x * 2.0**-8
    for digits in range(1, 6):
        scaled = values * 10.0**digits
        if (np.abs(scaled - np.rint(scaled)) <= 2.0**-23 * scaled + 1e-9).all():
            half = 0.5 * 10.0**-digits
            return lambda x: np.full(len(x), half)
    return _none
