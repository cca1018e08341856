"""The largest deviations, and which genes and perturbations recur among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np


def largest(values: np.ndarray, n: int) -> np.ndarray:
    """Return the indices of the `n` largest values, from the largest down, of equal ones the first; of all if fewer.

    `values` are finite, shape (n_values,), and `n` is at least 0.
    Agrees with dplyr's ``slice_max(n = n, with_ties = FALSE)``.
    """
    candidates = np.arange(len(values))
    if n < len(values):  # sorting a few of 100 000 values takes a tenth of the time
        candidates = np.flatnonzero(values >= np.partition(values, -n)[-n])
    return candidates[np.argsort(-values[candidates], kind="stable")[:n]]


def recurrence(names: Iterable[str]) -> list[tuple[str, int]]:
    """Count names, the commonest first, equally common ones by name."""
    return sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))


def lump(names: Iterable[str], listed: Iterable[str], other: str = "Other") -> list[tuple[str, int]]:
    """Count the names that are `listed`, in their order and those that occur, and all others together as `other`.

    The published figure keeps the six commonest over all models and splits and counts them in each.
    """
    counts = Counter(names)
    shown = [(name, counts.pop(name)) for name in listed if name in counts]
    rest = sum(counts.values())
    return [*shown, (other, rest)] if rest else shown
