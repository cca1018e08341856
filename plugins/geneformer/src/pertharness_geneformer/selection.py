"""Which cells take part: shuffled, at most so many of a condition, split in three; and the pool of controls.

The orders are those of the published code, of which the ``datasets`` library made part: permutations by numpy's default
generator, samples by Python's ``random``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pertharness import Skip

TEST = 0.1
"""Share of the cells that the classifier never sees: the published one is tested on them, which nothing here reads."""
EVALUATION = 0.1 / (0.8 + 0.1)
"""Share of the others that its epoch is chosen by."""


def shuffle(n: int, seed: int) -> np.ndarray:
    """Return the numbers 0 to n - 1 in random order, int64."""
    return np.random.default_rng(seed).permutation(n)


def split(n: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two random parts of 0 to n - 1: what is left, and the share, rounded up."""
    order = shuffle(n, seed)
    n_held = math.ceil(share * n)
    return order[n_held:], order[:n_held]


def sample_by_class(labels: Sequence[str], most: int, seed: int) -> np.ndarray:
    """Return the numbers of cells, at most so many of each class, class after class in order of first appearance."""
    by_class: dict[str, list[int]] = {}
    for number, label in enumerate(labels):
        by_class.setdefault(label, []).append(number)
    draws = random.Random(seed)
    chosen = [draws.sample(cells, most) if len(cells) > most else cells for cells in by_class.values()]
    return np.array([number for cells in chosen for number in cells], dtype=np.int64)


@dataclass(frozen=True)
class Parts:
    """Rows of the training data, int64: those that the classifier is trained on, and those that choose its epoch."""

    training: np.ndarray
    evaluation: np.ndarray


def choose_cells(labels: np.ndarray, most: int, seed: int) -> Parts:
    """Return the cells of the classifier.

    Parameters
    ----------
    labels
        Conditions of the training cells, shape (n_cells,).
    most
        Cells of a condition.

    Raises
    ------
    Skip
        If no cell is left to train on.
    """
    order = shuffle(len(labels), seed)
    order = order[sample_by_class(labels[order].tolist(), most, seed)]
    rest, _ = split(len(order), TEST, seed)
    order = order[rest]
    order = order[shuffle(len(order), seed)]
    training, evaluation = split(len(order), EVALUATION, seed)
    if not len(training):
        raise Skip(
            f"{len(labels)} training cells are too few for Geneformer's classifier: nothing is left after two parts "
            "of a tenth are held out"
        )
    return Parts(order[training], order[evaluation])


def draw_pool(n: int, most: int, seed: int) -> np.ndarray:
    """Return the controls that are perturbed: random ones, or all in order where there are at most so many."""
    return np.arange(n) if n <= most else shuffle(n, seed)[:most]


def longest_first(lengths: np.ndarray) -> np.ndarray:
    """Return the order of cells by falling length; those of one length keep theirs."""
    return np.argsort(-lengths, kind="stable")
