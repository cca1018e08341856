"""The reference scorers: what Ahlmann-Eltze, Huber & Anders compute, doi 10.1038/s41592-025-02772-6.

Definitions: ``docs/metrics.md``. Each scorer is an offer and a function in a module of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pertharness import Card, ScorerOffer, hookimpl

from pertharness_scorers import (
    by_rank,
    calibration,
    context_error,
    gene_sd,
    interaction_offer,
    of_perturbations,
    relative_error,
    target_change,
)

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from pertharness import Scores, Task

    Function = Callable[..., pd.DataFrame | Scores]


def _by_name(*scorers: tuple[ScorerOffer, Function]) -> dict[str, tuple[ScorerOffer, Function]]:
    """Give the scorers by the name of their offer."""
    return {offer.name: (offer, function) for offer, function in scorers}


_SCORERS = _by_name(
    *((offer, of_perturbations.score_perturbations) for offer in of_perturbations.OFFERS),
    (by_rank.OFFER, by_rank.score_by_rank),
    (gene_sd.OFFER, gene_sd.score_gene_sd),
    (relative_error.OFFER, relative_error.score_relative_error),
    (target_change.OFFER, target_change.score_target_change),
    (context_error.OFFER, context_error.score_context_error),
    (interaction_offer.OFFER, interaction_offer.score),
    (calibration.OFFER, calibration.score_calibration),
)
"""Name -> offer, and the function that computes it, which takes by name those of the hook's arguments that it needs."""


@hookimpl
def describe() -> Card:
    """Give the card of all scorers."""
    return Card(scorers=tuple(offer for offer, _ in _SCORERS.values()))


@hookimpl
def score(
    name: str, truth: AnnData, prediction: AnnData, controls: AnnData, train: AnnData, screen: AnnData,
    references: Mapping[str, AnnData], task: Task, params: Mapping[str, Any], seed: int,
) -> pd.DataFrame | Scores:  # fmt: skip
    """Give the scores of one scorer: its table, with larger tables beside it where the card announces some.

    Returns
    -------
    pandas.DataFrame or Scores
        Columns of ``pertharness.scores.COLUMNS``. An undefined score is NaN; an unanswered query has no row.

    Raises
    ------
    DataError
        If a parameter is out of its range.
    """
    given = {
        "name": name, "truth": truth, "prediction": prediction, "controls": controls, "train": train,
        "screen": screen, "references": references, "task": task, "params": params, "seed": seed,
    }  # fmt: skip
    function = _SCORERS[name][1]
    return function(**{argument: given[argument] for argument in inspect.signature(function).parameters})
