"""The scorers ``l2``, ``pearson`` and ``pearson_delta``: one value per perturbation, on the panel.

Definitions: doi 10.1038/s41592-025-02772-6; ``docs/metrics.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pertharness import COMMON_GENES, MetricOffer, ScorerOffer, Scores, TableOffer

from pertharness_scorers.answers import Answers, long_form, match_answers
from pertharness_scorers.distances import l2, pearson, pearson_delta
from pertharness_scorers.missing import gene_coverage

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_REFERENCE = "10.1038/s41592-025-02772-6"
_METRICS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "l2": l2, "pearson": pearson, "pearson_delta": pearson_delta,
}  # fmt: skip
_COVERAGE = TableOffer(name="gene_coverage", level="task", summary="Genes of the panel that the model predicts")


def _offer(name: str, summary: str, tables: tuple[TableOffer, ...] = (), **values: Any) -> ScorerOffer:
    """Return the offer of one of the metrics."""
    variants = ("default", "no-targets", "published-code", COMMON_GENES)
    metric = MetricOffer(
        id=name, summary=summary, variants=variants, unranked=("published-code",), reference=_REFERENCE, **values
    )
    return ScorerOffer(name=name, summary=summary, metrics=(metric,), tables=tables, params={"n_top": 1000})


OFFERS = (
    _offer("l2", "Euclidean distance of prediction and observation", (_COVERAGE,), direction="lower", best=0.0),
    _offer("pearson", "Correlation of prediction and observation", direction="higher", best=1.0),
    _offer(
        "pearson_delta", "Correlation of predicted and observed change from control",
        direction="higher", best=1.0, chance=0.0,
    ),
)  # fmt: skip


def score_perturbations(
    name: str, truth: AnnData, prediction: AnnData, controls: AnnData, train: AnnData, params: Mapping[str, Any]
) -> pd.DataFrame | Scores:
    """Score each answered query once per variant; ``l2`` has the table ``gene_coverage`` beside it.

    Raises
    ------
    DataError
        If `n_top` is below 1.
    """
    answers = match_answers(truth, prediction, controls, train, params.get("n_top", 1000))
    masks = _genes_kept(answers)
    values = {variant: _METRICS[name](answers.yhat, answers.y, answers.y0, mask) for variant, mask in masks.items()}
    if "published-code" not in values:
        values["published-code"] = values["default"]
    table = long_form(name, values if answers.labels else {}, answers.labels)
    if name != "l2":
        return table
    return Scores(table, {"gene_coverage": gene_coverage(answers.genes, answers.missing)})


def _genes_kept(answers: Answers) -> dict[str, np.ndarray]:
    """Return which genes count for which answer, shape (n_answered, n_panel), for each variant that there is."""

    def for_all(genes: np.ndarray) -> np.ndarray:
        return np.broadcast_to(genes, answers.y.shape)

    masks = {
        "default": for_all(np.ones(len(answers.genes), dtype=bool)),
        "no-targets": _not_targets(answers.targets, answers.genes),
    }
    if answers.missing.any():
        # The authors' code drops what is NaN before it sums: over fewer genes a sum is smaller without being better.
        masks["published-code"] = for_all(~answers.missing)
    if answers.common is not None:
        masks[COMMON_GENES] = for_all(answers.common)
    return masks


def _not_targets(targets: list[tuple[str, ...]], genes: np.ndarray) -> np.ndarray:
    """Return, for each perturbation and gene, whether the gene is none of its targets."""
    column_of = {gene: column for column, gene in enumerate(genes)}
    mask = np.ones((len(targets), len(column_of)), dtype=bool)
    for row, of_row in enumerate(targets):
        mask[row, [column_of[target] for target in of_row if target in column_of]] = False
    return mask
