"""The offer of the scorer ``interactions`` on the card; its code is slow to import, and imported only to score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pertharness import MetricOffer, ScorerOffer, TableOffer

if TYPE_CHECKING:
    from anndata import AnnData
    from pertharness import Scores

_REFERENCE = "10.1038/s41592-025-02772-6"
PARAMS = {"n_top": 1000, "stack": 1, "level": 0.05}
N_LARGEST, N_RECURRENT, N_HIGHLIGHTED = 500, 100, 4
"""Sizes of the published figures (1f and Extended Data 5), which the names of the tables state: no parameters."""
VARIANTS = ("default", "tail", "abs-u", "published-code")
"""Each is described in `pertharness_scorers.detection`."""
_METRICS = (
    ("tpr_fdp", "curve", None, "Share of the interactions found, at each false discovery proportion"),
    ("auprc", "task", None, "Area under precision against recall of the interactions"),
    ("auroc", "task", 0.5, "Chance that an interaction is ranked above an entry that is none"),
    ("average_precision", "task", None, "Precision of the ranking, averaged over the interactions"),
)
_TABLES = (
    ("interaction_call", "dataset", "Empirical null of the deviations from additivity, and the thresholds"),
    ("class_composition", "dataset", "Shares of the classes of interaction"),
    ("interaction_class", "dataset", "The called interactions and their classes"),
    ("top100_recurrence", "task", "Genes and perturbations among the largest predicted and observed deviations"),
)
OFFER = ScorerOffer(
    name="interactions",
    preload=("statsmodels.genmod.generalized_linear_model",),
    summary="Genetic interactions: deviations of doubles from the sum of their singles",
    metrics=tuple(
        MetricOffer(
            id=name, level=level, direction="higher", best=1.0, chance=chance, variants=VARIANTS,
            covers="doubles", summary=summary, reference=_REFERENCE,
        )
        for name, level, chance, summary in _METRICS
    ),
    tables=(
        *(TableOffer(name=name, level=level, summary=text, reference=_REFERENCE) for name, level, text in _TABLES),
        TableOffer(
            name="top500_class", level="task", largest=("predicted", N_LARGEST),
            count=("predicted_class", "observed_class"), reference=_REFERENCE,
            summary="Predicted and observed classes of the largest predicted deviations",
        ),
    ),
    tasks=("double",),
    params=PARAMS,
)  # fmt: skip


def score(
    truth: AnnData, prediction: AnnData, controls: AnnData, train: AnnData, screen: AnnData, params: Mapping[str, Any]
) -> Scores:
    """Score the deviations that a model predicts; see `pertharness_scorers.interaction_scorer.score_interactions`."""
    from pertharness_scorers.interaction_scorer import score_interactions

    return score_interactions(truth, prediction, controls, train, screen, params)
