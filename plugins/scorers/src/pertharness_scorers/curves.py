"""Curves and areas of a ranking: TPR against FDP, precision-recall, ROC.

Source: equations 4-6 of doi 10.1038/s41592-025-02772-6, and the published code where it differs. A ranking may be of
entries that are neither positive nor negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Ties = Literal["block", "row"]
GRID = np.linspace(0.0, 1.0, 101)
"""False discovery proportions at which a curve is given, as the published code computes them."""


@dataclass(frozen=True)
class Ranking:
    """An order of entries from the highest score down.

    Attributes
    ----------
    order
        Indices of the entries, shape (n,).
    ends
        Ranks (from 0) at which the ranking can be cut: the last of each block of equal scores, or every one.
    """

    order: np.ndarray
    ends: np.ndarray


@dataclass(frozen=True)
class Counts:
    """Numbers of true (tp) and false (fp) positives above each cut of a ranking, and of entries above the first."""

    tp: np.ndarray
    fp: np.ndarray
    first: int

    @property
    def recall(self) -> np.ndarray:
        """Return TP / (TP + FN), the true positive rate; NaN without positives."""
        return _share(self.tp, self.tp[-1:])

    @property
    def precision(self) -> np.ndarray:
        """Return TP / (TP + FP); NaN where nothing is either."""
        return _share(self.tp, self.tp + self.fp)


def rank(scores: np.ndarray, *, ties: Ties = "block") -> Ranking:
    """Rank entries by descending score.

    Parameters
    ----------
    scores
        Shape (n,), at least one, finite.
    ties
        Equal scores enter as one ``block``, so that the order of the data has no say; or one by one in the order of
        the data, ``row``, as in the published code.
    """
    if ties == "row":
        return Ranking(np.argsort(-scores, kind="stable"), np.arange(len(scores)))
    # Within a block the order does not matter, and an unstable sort takes a fifth of the time.
    order = np.argsort(-scores)
    return Ranking(order, np.flatnonzero(np.append(np.diff(scores[order]) != 0, True)))


def count(ranking: Ranking, positive: np.ndarray, negative: np.ndarray) -> Counts:
    """Count true and false positives down a ranking; both masks have the shape (n,)."""
    tp = np.cumsum(positive[ranking.order])[ranking.ends]
    fp = np.cumsum(negative[ranking.order])[ranking.ends]
    return Counts(tp, fp, int(ranking.ends[0]) + 1)


def tpr_fdp(counts: Counts, grid: np.ndarray = GRID) -> np.ndarray:
    """Return the true positive rate that is reached at each false discovery proportion.

    TPR = max over cuts of at most that FDP of TP / (TP + FN), FDP = FP / max(1, FP + TP); between the cuts linear, the
    mean over cuts of equal FDP, 0 left of the first FDP and 1 right of the last. NaN without positives.

    Source: equations 4-6 of doi 10.1038/s41592-025-02772-6; interpolation as R's ``approx(ties = mean)``, with which
    the authors draw the curve.
    """
    if not counts.tp[-1]:
        return np.full(len(grid), np.nan)
    fdp = counts.fp / np.maximum(1, counts.fp + counts.tp)
    order = np.argsort(fdp, kind="stable")
    fdp, tpr = fdp[order], np.maximum.accumulate(counts.tp[order]) / counts.tp[-1]
    starts = np.flatnonzero(np.append(True, np.diff(fdp) != 0))
    means = np.add.reduceat(tpr, starts) / np.diff(np.append(starts, len(tpr)))
    curve: np.ndarray = np.interp(grid, fdp[starts], means, left=0.0, right=1.0)
    return curve


def auprc(counts: Counts) -> float:
    """Return the area under precision against recall by the trapezoid rule, in the order of the ranking.

    It begins at the first entry; where that is in a block of equal scores, at the recall that one entry of the block
    has on average. Without ties this is the plain trapezoid from the first entry on. NaN without positives.
    """
    precision, recall = counts.precision, counts.recall
    start = recall[0] * (1 - 1 / counts.first)
    return float(precision[0] * start + _trapezoid(precision, recall))


def auprc_published(counts: Counts) -> float:
    """Return what the published code calls the area under precision against recall.

    It sorts by precision before the trapezoid rule, which is no area: where precision rises and falls along the
    ranking, far recalls become neighbours. Kept to reproduce the published numbers; NaN without positives.
    """
    order = np.argsort(counts.precision, kind="stable")
    return -_trapezoid(counts.precision[order], counts.recall[order])


def auroc(counts: Counts) -> float:
    """Return the area under recall against FP / (FP + TN): the chance that a positive is above a negative, ties half.

    NaN without positives or without negatives.
    """
    recall, fpr = np.append(0.0, counts.recall), np.append(0.0, _share(counts.fp, counts.fp[-1:]))
    return _trapezoid(recall, fpr)


def average_precision(counts: Counts) -> float:
    """Return the sum over the cuts of precision times the gain in recall; NaN without positives."""
    gains = np.diff(counts.recall, prepend=0.0)
    return float(np.where(gains == 0, 0.0, counts.precision * gains).sum())


def _trapezoid(heights: np.ndarray, places: np.ndarray) -> float:
    return float(((heights[1:] + heights[:-1]) / 2 * np.diff(places)).sum())


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide, 0 / 0 being NaN without a warning."""
    return part / np.where(whole == 0, np.nan, whole)
