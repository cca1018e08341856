"""Efron's local false discovery rate with an empirical null, and thresholds from it.

`density` counts values and fits the curve f, `likelihood` and `matching` estimate the null, `nulls` chooses one,
`table` has the rates per bin, `estimate` puts them together, `thresholds` calls values.
"""

from __future__ import annotations

from pertharness_scorers.locfdr.estimate import LocalFdr, locfdr
from pertharness_scorers.locfdr.thresholds import Thresholds, nearest_thresholds, tail_thresholds

__all__ = ["LocalFdr", "Thresholds", "locfdr", "nearest_thresholds", "tail_thresholds"]
