"""Which cells are fine-tuned on: a part of the training cells, without rare conditions, in a training and a test part.

All of it is drawn from training conditions; the published script drew from the whole data set, held-out conditions and
their labels, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pertharness import Skip

TEST_SHARE = 0.2
"""Part of each condition's cells that measures the accuracy."""
MOST_SEED, SPLIT_SEED = 0, 2021
"""Of the cells that are drawn, and of all else of the fine-tuning, as published."""


@dataclass(frozen=True)
class Drawn:
    """Cells to fine-tune on.

    Attributes
    ----------
    cells
        Their numbers in the screen, shape (n_cells,).
    classes
        Number of the condition of each, shape (n_cells,), int64.
    conditions
        Names of the conditions, sorted.
    training, test
        The two parts, rows of `cells`.
    note
        A line for the record.
    """

    cells: np.ndarray
    classes: np.ndarray
    conditions: tuple[str, ...]
    training: np.ndarray
    test: np.ndarray
    note: str


def draw_cells(labels: np.ndarray, most: int, smallest: int, seed: int | None) -> Drawn:
    """Return cells to fine-tune on.

    Parameters
    ----------
    labels
        Condition of each cell of the screen.
    most
        Cells that are drawn, without replacement.
    smallest
        Conditions with less of the drawn cells are left out.
    seed
        None: the published ones.

    Raises
    ------
    Skip
        If fewer than two conditions are left to be told apart.
    """
    rng = np.random.RandomState(MOST_SEED if seed is None else seed)
    cells = np.arange(len(labels))
    if len(cells) > most:
        cells = np.sort(rng.choice(len(labels), size=most, replace=False))
    names, numbers, counts = np.unique(labels[cells].astype(str), return_inverse=True, return_counts=True)
    kept = counts >= smallest
    if kept.sum() < 2:
        raise Skip(
            f"scBERT is fine-tuned to tell conditions apart, and {int(kept.sum())} of {len(names)} training conditions "
            f"have at least {smallest} of the {len(cells)} drawn cells; the largest has {int(counts.max(initial=0))}. "
            "It needs at least 2"
        )
    rows = np.flatnonzero(kept[numbers])
    classes = (np.cumsum(kept) - 1)[numbers[rows]].astype(np.int64)
    note = f"fine-tuned on {len(rows)} of {len(labels)} training cells, of {int(kept.sum())} conditions"
    if not kept.all():
        note += f"; {int((~kept).sum())} conditions with less than {smallest} drawn cells are left out"
    training, test = split_classes(classes, np.random.RandomState(SPLIT_SEED if seed is None else seed))
    return Drawn(cells[rows], classes, tuple(names[kept].tolist()), training, test, note)


def split_classes(classes: np.ndarray, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of a training and a test part, each class in the same shares, in random order.

    The test part has a fifth of the cells, rounded up. Each class gives a fifth, rounded down, and those with the
    largest remainders give one more; of equal remainders, which is drawn.

    Parameters
    ----------
    classes
        Class of each row; each has at least two.
    """
    sizes = np.bincount(classes)
    ideal = sizes * TEST_SHARE
    quota = np.floor(ideal).astype(np.int64)
    lacking = int(np.ceil(TEST_SHARE * len(classes))) - int(quota.sum())
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-(ideal - quota)[order].round(9), kind="stable")]
    quota[order[:lacking]] += 1
    training, test = [], []
    for number, size in enumerate(quota):
        rows = rng.permutation(np.flatnonzero(classes == number))
        test.append(rows[:size])
        training.append(rows[size:])
    return rng.permutation(np.concatenate(training)), rng.permutation(np.concatenate(test))


def batches_of(rows: np.ndarray, size: int, rng: np.random.RandomState, *, replacement: bool) -> Iterator[np.ndarray]:
    """Yield batches of as many rows as there are: each drawn from all of them, as published, or each once, shuffled."""
    order = rows[rng.randint(0, len(rows), len(rows))] if replacement else rng.permutation(rows)
    for start in range(0, len(order), size):
        yield order[start : start + size]
