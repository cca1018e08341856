"""Facts of a prediction, which the host computes from the files of the prediction and of the training data.

h5py reads each matrix once, a few megabytes at a time. The truth is read only if answers are all alike, or equal to a
training row: the observations may be so too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeInt

from pertharness.contract.errors import DataError
from pertharness.data.streaming import as_source, row_chunks, to_memory

TOLERANCE = 1e-6
"""Values of log1p of counts per 10 000 that differ by less are equal, as for the metrics: float32 rounds 9.21 so."""

_N_SKETCHES = 4
_ROUNDING = 1e-12
"""Rounding error of a mean of values below 10 in float64, for any order of the sum."""


class PredictionFacts(BaseModel):
    """Facts of one prediction.

    Attributes
    ----------
    n_answers
        Answered queries.
    n_values, n_predicted
        Answered queries times genes, and the number of these values that the model gave.
    alike
        Whether all of two or more answers are equal while the observations are not.
    n_copies
        Number of answers that equal the mean of a training perturbation or of the controls while the observation does
        not.
    example
        The first copy: query and training perturbation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_answers: NonNegativeInt
    n_values: NonNegativeInt
    n_predicted: NonNegativeInt
    alike: bool
    n_copies: NonNegativeInt
    example: tuple[str, str] | None = None


@dataclass
class Means:
    """An open h5ad of means, one row per label.

    Attributes
    ----------
    matrix
        Shape (n_labels, n_genes), in memory or on disk; ``matrix[i]`` returns a row.
    """

    labels: list[str]
    matrix: Any
    _sketches: dict[bytes, np.ndarray] = field(default_factory=dict, repr=False)

    def sketch(self, predicted: np.ndarray) -> np.ndarray:
        """Return weighted means of each row over the genes `predicted`, shape (n_labels, 4); cached per set of genes.

        The absolute weights add up to at most 1. So rows that are equal within a tolerance have means that are equal
        within it: a cheap test that rules out nearly all pairs.
        """
        key = np.packbits(predicted).tobytes()
        if key not in self._sketches:
            weights = _weights(len(predicted)) * predicted[:, None]
            parts = [np.where(predicted, rows, 0.0) @ weights for _, rows in row_chunks(self.matrix)]
            self._sketches[key] = np.concatenate(parts) if parts else np.zeros((0, _N_SKETCHES))
        return self._sketches[key]


@contextlib.contextmanager
def open_means(path: Path) -> Iterator[Means]:
    """Open an h5ad of means.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    import h5py

    try:
        with h5py.File(path) as file:
            yield _means_of(file)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{str(path)!r} cannot be read: {error}; expected means as the harness writes them: delete its folder, "
            "and the next run makes it again"
        ) from error


def _means_of(file: Any) -> Means:
    """Return the labels and the matrix of an open h5ad; a sparse matrix is read into memory."""
    try:
        matrix = as_source(file["X"])
        labels = _labels(file["obs"]["perturbation"])
        return Means(labels, matrix if hasattr(matrix, "ndim") else to_memory(matrix).toarray())
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise OSError(str(error)) from error


def describe_prediction(prediction: Means, training: Means, open_truth: Callable[[], Means]) -> PredictionFacts:
    """Return how much a prediction covers, and whether its answers are alike or copies of training rows.

    Parameters
    ----------
    prediction
        One row per answered query, NaN where the model does not predict a gene.
    training
        One row per training perturbation and one for the controls, with the same genes.
    open_truth
        Returns the observed means of all perturbations; called only if answers are alike or copies.
    """
    n_answers, n_genes = prediction.matrix.shape
    predicted = np.isfinite(prediction.matrix[0]) if n_answers else np.zeros(n_genes, dtype=bool)
    n_predicted, alike = 0, n_answers > 1
    for _, rows in row_chunks(prediction.matrix):
        n_predicted += int(np.isfinite(rows).sum())
        alike = alike and _all_equal(rows, prediction.matrix[0], predicted)
    copies: list[tuple[str, str]] = []
    if predicted.any():
        pairs = [*_equal_rows(prediction, training, predicted)]
        if alike or pairs:
            truth = open_truth()
            observed = {label: row for row, label in enumerate(truth.labels)}
            alike = alike and not _observed_alike(prediction.labels, truth, observed, predicted)
            copies = [
                (prediction.labels[answer], training.labels[row])
                for answer, row in pairs
                if not _equal(truth.matrix[observed[prediction.labels[answer]]], training.matrix[row], predicted)
            ]
    return PredictionFacts(
        n_answers=n_answers, n_values=n_answers * n_genes, n_predicted=n_predicted,
        alike=alike and bool(predicted.any()), n_copies=len(copies), example=copies[0] if copies else None,
    )  # fmt: skip


def _equal_rows(prediction: Means, training: Means, predicted: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield each answer that equals a training row, with the first such row."""
    training_sketches = training.sketch(predicted)
    for answer, sketch in enumerate(prediction.sketch(predicted)):
        near = np.abs(training_sketches - sketch).max(axis=1, initial=0.0) <= TOLERANCE + _ROUNDING
        candidates = np.flatnonzero(near)
        if len(candidates):
            values = prediction.matrix[answer]
            equal = [int(row) for row in candidates if _equal(values, training.matrix[row], predicted)]
            yield from ((answer, row) for row in equal[:1])


def _observed_alike(labels: list[str], truth: Means, observed: dict[str, int], predicted: np.ndarray) -> bool:
    """Return whether the observations of all these perturbations are equal."""
    first = truth.matrix[observed[labels[0]]]
    return all(_equal(truth.matrix[observed[label]], first, predicted) for label in labels[1:])


def _all_equal(rows: np.ndarray, row: np.ndarray, predicted: np.ndarray) -> bool:
    """Return whether each of the rows equals another row."""
    difference = rows - row if predicted.all() else (rows - row)[:, predicted]
    return bool((np.abs(difference) <= TOLERANCE).all())


def _equal(first: np.ndarray, second: np.ndarray, predicted: np.ndarray) -> bool:
    """Return whether two rows are equal over the predicted genes; NaN equals nothing."""
    return bool((np.abs(first - second) <= TOLERANCE)[predicted].all())


def _weights(n_genes: int) -> np.ndarray:
    """Return the weights of sketches, shape (n_genes, 4): plain means, and means with random signs."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(n_genes, _N_SKETCHES))
    signs[:, 0] = 1.0
    weights: np.ndarray = signs / max(1, n_genes)
    return weights


def _labels(column: Any) -> list[str]:
    """Return the labels of a column of ``obs``: categorical, or an array of texts; without rows, of any type."""
    codes = column["codes"][:] if hasattr(column, "keys") else column[:]
    if not len(codes):
        return []
    if hasattr(column, "keys"):
        names = column["categories"].asstr()[:]
        return [str(names[code]) for code in codes]
    return [str(label) for label in column.asstr()[:]]
