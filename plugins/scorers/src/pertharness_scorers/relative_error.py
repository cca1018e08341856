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

_COMMON: dict[str, Any] = {
    "direction": "lower", "best": -1.0, "chance": 0.0, "reference": "10.1038/s41592-025-02772-6",
}  # fmt: skip
OFFER = ScorerOffer(
    name="relative_error",
    summary="l2 relative to that of the mean of the training perturbations",
    metrics=(
        # Of a perturbation, so that its mean is over the common set and has an interval, as in Fig. 2c.
        MetricOffer(
            id="relative_error", variants=("default", "published-code"),
            summary="l2 over that of the mean of the training perturbations, minus 1", **_COMMON,
        ),
        MetricOffer(
            id="ratio_of_means", level="task",
            summary="Mean l2 over the mean l2 of the mean of the training perturbations, minus 1", **_COMMON,
        ),
    ),
    params={"n_top": 1000},
)  # fmt: skip


def score_relative_error(
    truth: AnnData, prediction: AnnData, controls: AnnData, train: AnnData, params: Mapping[str, Any]
) -> pd.DataFrame:
    """Return the error of each perturbation relative to the baseline's, and that of their means.

    Raises
    ------
    DataError
        If `n_top` is below 1.
    """
    import pandas as pd

    answers = match_answers(truth, prediction, controls, train, params.get("n_top", 1000))
    everywhere = control_mean(controls)
    panel = top_genes(everywhere, params.get("n_top", 1000))
    keep = np.ones(answers.y.shape, dtype=bool)

    def error(yhat: np.ndarray) -> np.ndarray:
        return l2(yhat, answers.y, answers.y0, keep)

    model = error(answers.yhat)
    reference = error(mean_prediction(train)[panel])
    with_control = error(mean_prediction(train, control=everywhere)[panel])
    values = {"default": excess(model, reference), "published-code": excess(model, with_control)}
    of_means = {"default": np.array([ratio_of_means(model, reference)])}
    tables = [long_form("relative_error", values, answers.labels), long_form("ratio_of_means", of_means)]
    return pd.concat(tables, ignore_index=True)


def excess(model: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return l2_model / l2_reference - 1 of each perturbation; where the reference is 0 there is no ratio."""
    return model / np.where(reference > 0, reference, np.nan) - 1.0


def ratio_of_means(model: np.ndarray, reference: np.ndarray) -> float:
    """Return mean(l2_model) / mean(l2_reference) - 1 over the perturbations for which both are defined."""
    usable = np.isfinite(model) & np.isfinite(reference)
    total = reference[usable].sum()
    return float(model[usable].sum() / total - 1.0) if total > 0 else np.nan
