"""The scorer ``relative_error``: the l2 of a model against that of the ``mean`` baseline of the same split.

Definition: doi 10.1038/s41592-025-02772-6, Fig. 2c; ``docs/metrics.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pertharness import MetricOffer, ScorerOffer, control_mean

from pertharness_scorers.answers import long_form, match_answers
from pertharness_scorers.distances import l2
from pertharness_scorers.missing import mean_prediction
from pertharness_scorers.panel import top_genes

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_SUMMARY = "l2 relative to that of the mean of the training perturbations, minus 1"
OFFER = ScorerOffer(
    name="relative_error",
    summary=_SUMMARY,
    metrics=(
        MetricOffer(
            id="relative_error", level="task", direction="lower", best=-1.0, chance=0.0, summary=_SUMMARY,
            variants=("default", "ratio-of-means", "published-code"), reference="10.1038/s41592-025-02772-6",
        ),
    ),
    params={"n_top": 1000},
)  # fmt: skip


def score_relative_error(
    truth: AnnData, prediction: AnnData, controls: AnnData, train: AnnData, params: Mapping[str, Any]
) -> pd.DataFrame:
    """Give one value per variant, over the perturbations for which both errors are defined.

    Raises
    ------
    DataError
        If `n_top` is below 1.
    """
    answers = match_answers(truth, prediction, controls, train, params.get("n_top", 1000))
    everywhere = control_mean(controls)
    panel = top_genes(everywhere, params.get("n_top", 1000))
    keep = np.ones(answers.y.shape, dtype=bool)

    def error(yhat: np.ndarray) -> np.ndarray:
        return l2(yhat, answers.y, answers.y0, keep)

    model = error(answers.yhat)
    reference = error(mean_prediction(train)[panel])
    with_control = error(mean_prediction(train, control=everywhere)[panel])
    values = {
        "default": mean_of_ratios(model, reference),
        "ratio-of-means": ratio_of_means(model, reference),
        "published-code": mean_of_ratios(model, with_control),
    }
    return long_form("relative_error", {variant: np.array([value]) for variant, value in values.items()})


def mean_of_ratios(model: np.ndarray, reference: np.ndarray) -> float:
    """Give mean(l2_model / l2_reference) - 1 over perturbations; where the reference is 0 there is no ratio."""
    usable = np.isfinite(model) & (reference > 0)
    return float((model[usable] / reference[usable]).mean() - 1.0) if usable.any() else np.nan


def ratio_of_means(model: np.ndarray, reference: np.ndarray) -> float:
    """Give mean(l2_model) / mean(l2_reference) - 1 over perturbations."""
    usable = np.isfinite(model) & np.isfinite(reference)
    total = reference[usable].sum()
    return float(model[usable].sum() / total - 1.0) if total > 0 else np.nan
