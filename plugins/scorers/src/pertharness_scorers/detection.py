"""How well a model's ranking of deviations finds the called interactions, in four variants.

Source: equations 4-6 of doi 10.1038/s41592-025-02772-6, and the published code where it differs; ``docs/metrics.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pertharness_scorers.curves import (
    Counts,
    Ties,
    auprc,
    auprc_published,
    auroc,
    average_precision,
    count,
    rank,
    tpr_fdp,
)
from pertharness_scorers.interactions import Call, is_called

Masks = tuple[np.ndarray, np.ndarray]


def called(observed: np.ndarray, lower: float, upper: float) -> Masks:
    """Return positives, outside [lower, upper], and negatives, all others."""
    positive = is_called(observed, lower, upper)
    return positive, ~positive


def as_large_as_upper(observed: np.ndarray, lower: float, upper: float) -> Masks:
    """Return positives and negatives as in equations 4-5, with u = upper: abs(y - A) at least u, or below."""
    positive = np.abs(observed) >= upper
    return positive, ~positive


def above_upper(observed: np.ndarray, lower: float, upper: float) -> Masks:
    """Return positives and negatives of the published code: above and below upper, and what equals it is neither."""
    return observed > upper, observed < upper


@dataclass(frozen=True)
class Variant:
    """Which thresholds, which entries are positive, what they are ranked by, and how ties and the area are handled."""

    threshold: str = "local"
    masks: Callable[[np.ndarray, float, float], Masks] = called
    one_sided: bool = False
    ties: Ties = "block"
    auprc: Callable[[Counts], float] = auprc


VARIANTS: Mapping[str, Variant] = {
    "default": Variant(),
    "tail": Variant(threshold="tail"),
    "abs-u": Variant(masks=as_large_as_upper),
    "published-code": Variant(masks=above_upper, one_sided=True, ties="row", auprc=auprc_published),
}


def detect(predicted: np.ndarray, observed: np.ndarray, call: Call) -> dict[str, dict[str, Any]]:
    """Score a ranking in all variants: metric -> variant -> value; of ``tpr_fdp``, one for each FDP of the grid.

    Parameters
    ----------
    predicted, observed
        yhat - A and y - A of the same entries, shape (n_entries,), at least one; ties in the order of the data.
    call
        The thresholds.
    """
    # Ranking is what takes the time, and three variants share one.
    rankings = {
        (one_sided, ties): rank(predicted if one_sided else np.abs(predicted), ties=ties)
        for one_sided, ties in {(variant.one_sided, variant.ties) for variant in VARIANTS.values()}
    }
    scores: dict[str, dict[str, Any]] = {"tpr_fdp": {}, "auprc": {}, "auroc": {}, "average_precision": {}}
    for name, variant in VARIANTS.items():
        thresholds = call.thresholds[variant.threshold]
        masks = variant.masks(observed, thresholds.lower, thresholds.upper)
        counts = count(rankings[variant.one_sided, variant.ties], *masks)
        scores["tpr_fdp"][name] = tpr_fdp(counts)
        scores["auprc"][name] = variant.auprc(counts)
        scores["auroc"][name] = auroc(counts)
        scores["average_precision"][name] = average_precision(counts)
    return scores
