"""Transformations that counts in a file may have undergone, and their inverses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

TOTAL = 1e4
"""Total of expm1 per cell in the canonical form."""


@dataclass(frozen=True)
class Transformation:
    """A transformation of normalised counts, with its inverse; both keep 0."""

    words: str
    inverse: Callable[[np.ndarray], np.ndarray]


def _power_of(base: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return the inverse of log(1 + x) with a base."""
    factor = float(np.log(base))
    return lambda x: np.expm1(x * factor)


NATURAL = "ln"
TRANSFORMATIONS = MappingProxyType(
    {
        NATURAL: Transformation("log1p", np.expm1),
        "log2": Transformation("log2(1 + x)", _power_of(2)),
        "log10": Transformation("log10(1 + x)", _power_of(10)),
        "twice": Transformation("log1p taken twice", lambda x: np.expm1(np.expm1(x))),
        "sqrt": Transformation("square roots", np.square),
        "none": Transformation("values without a logarithm", lambda x: x),
    }
)
"""Transformations by name; a file's values are tested with the inverse of each."""
