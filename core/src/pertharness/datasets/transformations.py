"""What may have been done to counts before they came into a file, and how each of it is undone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

TOTAL = 1e4
"""What the expm1 of a cell add up to at the scale of the harness."""


@dataclass(frozen=True)
class Transformation:
    """What was done to counts after they were normalised, and how to undo it; 0 stays 0."""

    words: str
    inverse: Callable[[np.ndarray], np.ndarray]


def _power_of(base: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return the inverse of the logarithm to a base, of 1 + x."""
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
"""By name; a file's values are tried with the inverse of each."""
