"""Deviations of doubles from what their two singles add up to.

y is the mean expression of a perturbation, y0 that of the controls, A = y_A + y_B - y0 the additive expectation of the
double A+B; all log1p CP10k. Definitions: doi 10.1038/s41592-025-02772-6, Methods; ``docs/metrics.md``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from pertharness import targets_of

from pertharness_scorers.distances import ZERO

_ARRAYS = ("deviation", "effect", "first", "second", "expectation")


@dataclass(frozen=True)
class Doubles:
    """Doubles whose two singles were observed, on the genes of a panel; arrays have the shape (n_doubles, n_genes).

    Attributes
    ----------
    labels
        One per row, in data order.
    deviation
        y - A, observed.
    effect
        y - y0.
    first, second
        y_A - y0 and y_B - y0.
    expectation
        A.
    y0
        Control mean, shape (n_genes,).
    left_out
        Doubles of which a single is missing.
    """

    labels: tuple[str, ...]
    deviation: np.ndarray
    effect: np.ndarray
    first: np.ndarray
    second: np.ndarray
    expectation: np.ndarray
    y0: np.ndarray
    left_out: tuple[str, ...] = ()


def find_doubles(labels: Sequence[str]) -> tuple[list[tuple[int, int, int]], list[str]]:
    """Find the doubles: the rows of each, and of its two singles; and the doubles of which a single is missing.

    Parameters
    ----------
    labels
        Perturbations, canonical.
    """
    row_of = {label: row for row, label in enumerate(labels)}
    doubles, left_out = [], []
    for label, row in row_of.items():
        targets = targets_of(label)
        if len(targets) == 2 and all(target in row_of for target in targets):
            doubles.append((row, row_of[targets[0]], row_of[targets[1]]))
        elif len(targets) == 2:
            left_out.append(label)
    return doubles, left_out


def observe_doubles(labels: Sequence[str], means: np.ndarray, y0: np.ndarray) -> Doubles:
    """Return the doubles of a screen and how they deviate from the additive expectation.

    Parameters
    ----------
    labels
        Perturbations of the screen, canonical.
    means
        Their mean expression on the panel, shape (n_perturbations, n_panel).
    y0
        Control mean on the panel, shape (n_panel,).
    """
    rows, left_out = find_doubles(labels)
    both, a, b = np.array(rows, dtype=np.intp).reshape(-1, 3).T
    expectation = means[a] + means[b] - y0
    return Doubles(
        labels=tuple(labels[row] for row in both), deviation=means[both] - expectation, effect=means[both] - y0,
        first=means[a] - y0, second=means[b] - y0, expectation=expectation, y0=y0, left_out=tuple(left_out),
    )  # fmt: skip


def take(doubles: Doubles, labels: Collection[str]) -> Doubles:
    """Return those doubles that are among the labels, in data order."""
    rows = [row for row, label in enumerate(doubles.labels) if label in labels]
    arrays = {name: getattr(doubles, name)[rows] for name in _ARRAYS}
    return Doubles(labels=tuple(doubles.labels[row] for row in rows), y0=doubles.y0, **arrays)


def without_rounding(differences: np.ndarray) -> np.ndarray:
    """Return differences of expression values with those of at most `ZERO` set to 0.

    A prediction that went through float32 must not get a ranking out of rounding: through the whole pipeline the
    additive expectation deviates from itself by exactly 0.
    """
    return np.where(np.abs(differences) <= ZERO, 0.0, differences)
