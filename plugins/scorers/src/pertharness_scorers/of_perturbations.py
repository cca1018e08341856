"""The scorers ``l2``, ``pearson`` and ``pearson_delta``: one value per perturbation, on the panel.

Definitions: doi 10.1038/s41592-025-02772-6; ``docs/metrics.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pertharness import DataError, MetricOffer, ScorerOffer, control_mean, targets_of

from pertharness_scorers.distances import l2, pearson, pearson_delta
from pertharness_scorers.panel import top_genes

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_METRICS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "l2": l2, "pearson": pearson, "pearson_delta": pearson_delta,
}  # fmt: skip
_COMMON: dict[str, Any] = {"variants": ("default", "no-targets"), "reference": "10.1038/s41592-025-02772-6"}
OFFERS = tuple(
    ScorerOffer(name=metric.id, summary=metric.summary, metrics=(metric,), params={"n_top": 1000})
    for metric in (
        MetricOffer(
            id="l2", direction="lower", best=0.0, summary="Euclidean distance of prediction and observation", **_COMMON
        ),
        MetricOffer(
            id="pearson", direction="higher", best=1.0, summary="Correlation of prediction and observation", **_COMMON
        ),
        MetricOffer(
            id="pearson_delta",
            direction="higher",
            best=1.0,
            chance=0.0,
            summary="Correlation of predicted and observed change from control",
            **_COMMON,
        ),
    )
)


def score_perturbations(
    name: str, truth: AnnData, prediction: AnnData, controls: AnnData, params: Mapping[str, Any]
) -> pd.DataFrame:
    """Score each answered query once per variant: on the whole panel, and without its own target genes.

    Raises
    ------
    DataError
        If `n_top` is below 1.
    """
    n_top = params.get("n_top", 1000)
    if n_top < 1:
        raise DataError(f"{name}: expected n_top of at least 1 gene, got {n_top!r}")
    everywhere = control_mean(controls)
    panel = top_genes(everywhere, n_top)
    labels = list(truth.obs["perturbation"])
    row_of = {label: row for row, label in enumerate(prediction.obs["perturbation"])}
    scored = [(row, label) for row, label in enumerate(labels) if label in row_of]
    names = [label for _, label in scored]
    yhat = np.asarray(prediction.X)[[row_of[label] for label in names]][:, panel]
    y = np.asarray(truth.X)[[row for row, _ in scored]][:, panel]
    kept = {"default": np.ones(y.shape, dtype=bool), "no-targets": _not_targets(names, truth.var_names[panel])}
    values = {variant: _METRICS[name](yhat, y, everywhere[panel], keep) for variant, keep in kept.items()}
    return _long_form(name, names, values)


def _not_targets(perturbations: list[str], genes: Iterable[str]) -> np.ndarray:
    """Tell, for each perturbation and gene, whether the gene is none of its targets."""
    column_of = {gene: column for column, gene in enumerate(genes)}
    kept = np.ones((len(perturbations), len(column_of)), dtype=bool)
    for row, label in enumerate(perturbations):
        kept[row, [column_of[target] for target in targets_of(label) if target in column_of]] = False
    return kept


def _long_form(metric: str, perturbations: list[str], values: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Give the score table: the perturbations once per variant."""
    import pandas as pd
    from pertharness.scores import COLUMNS

    rows = [
        (label, "", metric, variant, "", value)
        for variant, column in values.items()
        for label, value in zip(perturbations, column, strict=True)
    ]
    table: pd.DataFrame = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"value": float})
    return table
