"""Efron's local false discovery rate with an empirical null, and thresholds from it.

`density` counts values and fits the curve f, `likelihood` and `matching` estimate the null, `nulls` chooses one,
`table` has the rates per bin, `estimate` puts them together, `thresholds` calls values.

A package of its own but for its place: it needs numpy, scipy, pandas and statsmodels, and imports nothing of the
plugin around it nor of pertharness.
"""

from __future__ import annotations

from .estimate import LocalFdr, locfdr
from .no_null import NoNull
from .thresholds import Thresholds, nearest_thresholds, tail_thresholds

__all__ = ["LocalFdr", "NoNull", "Thresholds", "locfdr", "nearest_thresholds", "tail_thresholds"]
