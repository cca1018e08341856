"""The scorer ``gene_sd``: how much predictions vary between perturbations, gene by gene, beside the observations.

A model that predicts the same for every perturbation has 0 throughout. Definition: doi 10.1038/s41592-025-02772-6,
Extended Data Fig. 7; ``docs/metrics.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pertharness import ScorerOffer, Scores, TableOffer

from pertharness_scorers.answers import long_form, match_answers

if TYPE_CHECKING:
    from anndata import AnnData

_SUMMARY = "Standard deviation over perturbations of each gene, predicted and observed"
OFFER = ScorerOffer(
    name="gene_sd",
    summary=_SUMMARY,
    tables=(TableOffer(name="gene_sd", level="gene", summary=_SUMMARY, reference="10.1038/s41592-025-02772-6"),),
    params={"n_top": 1000},
)


def score_gene_sd(
    truth: AnnData, prediction: AnnData, controls: AnnData, train: AnnData, params: Mapping[str, Any]
) -> Scores:
    """Return the table gene, of (``prediction`` or ``truth``), sd, over the panel, in its order; no scores.

    Both are over the answered perturbations that have a value for every gene of the panel. A gene that the model does
    not predict has no sd.

    Raises
    ------
    DataError
        If `n_top` is below 1.
    """
    import pandas as pd

    answers = match_answers(truth, prediction, controls, train, params.get("n_top", 1000))
    defined = answers.defined()
    predicted = np.where(answers.missing, np.nan, column_sd(answers.yhat[defined]))
    tables = [
        pd.DataFrame({"gene": answers.genes, "of": of, "sd": sd})
        for of, sd in (("prediction", predicted), ("truth", column_sd(answers.y[defined])))
    ]
    return Scores(long_form("gene_sd", {}), {"gene_sd": pd.concat(tables, ignore_index=True)})


def column_sd(values: np.ndarray) -> np.ndarray:
    """Return the standard deviation (n - 1) of each column; NaN for fewer than two rows."""
    sd: np.ndarray = values.std(axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1], np.nan)
    return sd
