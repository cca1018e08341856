"""Which control each cell is paired with, the batches of such pairs, and what validation compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from pertharness import CONTROL
from scipy import sparse
from torch import Tensor

from pertharness_scfoundation.cells import Cells
from pertharness_scfoundation.perturbations import choose_rows

TOP_GENES = 20
"""Genes of a perturbation whose mean change validates, as published."""


@dataclass(frozen=True)
class Batch:
    """Some pairs of cells.

    Attributes
    ----------
    inputs
        Control cells.
    labels
        Perturbation of each pair.
    observed
        Expression of the cells to predict, shape (cells, n_genes).
    """

    inputs: Cells
    labels: list[str]
    observed: Tensor


@dataclass(frozen=True)
class Screen:
    """The cells of training and what is worked out of them once.

    Attributes
    ----------
    cells
        Controls and perturbed cells that take part.
    controls
        The controls among them.
    partners
        For each cell the number of its control among `controls`; -1: it is its own input.
    """

    cells: Cells
    controls: Cells
    partners: np.ndarray

    def batch(self, rows: np.ndarray, device: torch.device) -> Batch:
        """Return the pairs of some cells."""
        is_own = self.partners[rows] < 0
        own, drawn = self.cells.take(rows[is_own]), self.controls.take(self.partners[rows][~is_own])
        inputs = _interleave(own, drawn, is_own)
        observed = torch.from_numpy(self.cells.dense(rows)).to(device)
        return Batch(inputs, list(self.cells.labels[rows]), observed)


def _interleave(own: Cells, drawn: Cells, is_own: np.ndarray) -> Cells:
    """Return cells of two sources in the order of a mask."""
    order = np.empty(len(is_own), dtype=np.int64)
    order[np.flatnonzero(is_own)] = np.arange(len(own.totals))
    order[np.flatnonzero(~is_own)] = len(own.totals) + np.arange(len(drawn.totals))
    stacked = sparse.vstack([own.expression, drawn.expression], format="csr")
    totals, labels = np.concatenate([own.totals, drawn.totals]), np.concatenate([own.labels, drawn.labels])
    return Cells(stacked, totals, labels).take(order)


def pair_cells(labels: np.ndarray, n_controls: int, rng: np.random.RandomState) -> np.ndarray:
    """Return for each perturbed cell the number of a control cell, drawn uniformly; controls have -1, for themselves.

    Drawn once, in the order in which perturbations appear, as published.
    """
    drawn = np.full(len(labels), -1, dtype=np.int64)
    for label in dict.fromkeys(labels):
        if label != CONTROL:
            rows = np.flatnonzero(labels == label)
            drawn[rows] = rng.randint(0, n_controls, size=len(rows))
    return drawn


def make_screen(cells: Cells, controls: Cells, rng: np.random.RandomState) -> Screen:
    """Pair each perturbed cell with a control cell, once."""
    return Screen(cells, controls, pair_cells(cells.labels, len(controls.totals), rng))


def moments(expression: object, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance (n - 1) of each gene over some cells, float64; the variance of one cell is 0."""
    part = expression[rows].astype(np.float64)  # type: ignore[index]
    mean = np.asarray(part.mean(axis=0)).ravel()
    part.data **= 2
    variance = np.asarray(part.mean(axis=0)).ravel() - mean**2
    return mean, np.maximum(variance, 0) * len(rows) / max(1, len(rows) - 1)


def changed_genes(expression: object, rows: np.ndarray, controls: tuple[np.ndarray, np.ndarray, int]) -> np.ndarray:
    """Return the 20 genes with the largest absolute Welch t between some cells and the controls.

    Parameters
    ----------
    controls
        Mean, variance and number of the control cells.
    """
    mean, variance = moments(expression, rows)
    control_mean, control_variance, n_controls = controls
    error = np.sqrt(variance / len(rows) + control_variance / n_controls)
    t = np.divide(np.abs(mean - control_mean), error, out=np.zeros_like(mean), where=error > 0)
    return np.argsort(-t, kind="stable")[:TOP_GENES]


@dataclass(frozen=True)
class Validation:
    """Validation cells, paired, and of each perturbation the genes whose mean is compared."""

    screen: Screen
    genes: dict[str, np.ndarray]


def make_validation(
    val: Cells | None, controls: Cells, vocabulary: Mapping[str, int], rng: np.random.RandomState
) -> Validation | None:
    """Return the validation cells whose perturbations can be taken; None if there are none."""
    if val is None:
        return None
    rows, _ = choose_rows(val, vocabulary)
    rows = rows[val.labels[rows] != CONTROL]
    if not len(rows):
        return None
    cells = val.take(rows)
    of_controls = (*moments(controls.expression, np.arange(len(controls.totals))), len(controls.totals))
    genes = {
        label: changed_genes(cells.expression, np.flatnonzero(cells.labels == label), of_controls)
        for label in dict.fromkeys(cells.labels)
    }
    return Validation(make_screen(cells, controls, rng), genes)
