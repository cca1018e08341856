"""Numbers as a reader sees them: with few digits, a unit, or a dash for a missing value."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd

NONE = "-"
_LARGE = 1e6
"""Show larger numbers as powers of ten: a model that diverged must not widen the columns of all others."""


def decimals_for(values: Iterable[float]) -> int:
    """Return the number of decimals, 2 to 6, that shows four digits of the largest value.

    Values that are shown as powers of ten are ignored.
    """
    sizes = (abs(value) for value in values if not pd.isna(value) and value)
    largest = max((size for size in sizes if size < _LARGE), default=1.0)
    return min(6, max(2, 3 - math.floor(math.log10(largest))))


def number_text(value: float, form: str) -> str:
    """Format a number: a large one as a power of ten, NaN as a dash."""
    return NONE if pd.isna(value) else f"{value:.2e}" if abs(value) >= _LARGE else format(value, form)


def share_text(share: float) -> str:
    """Return a share in percent, rounded down, so that only the share 1 shows as 100 %."""
    if pd.isna(share):
        return NONE
    percent = math.floor(1000 * share) / 10
    return f"{percent:g} %" if percent or not share else "<0.1 %"


def time_text(seconds: float) -> str:
    """Return a time with its unit."""
    if pd.isna(seconds):
        return NONE
    if seconds < 0.1:
        return "<0.1 s"
    size, unit = (1, "s") if seconds < 60 else (60, "min") if seconds < 3600 else (3600, "h")
    return f"{seconds / size:.1f} {unit}"


def memory_text(megabytes: float) -> str:
    """Return an amount of memory with its unit."""
    if pd.isna(megabytes):
        return NONE
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"
