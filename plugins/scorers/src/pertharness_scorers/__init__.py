"""The reference scorers: what Ahlmann-Eltze, Huber & Anders compute, doi 10.1038/s41592-025-02772-6.

Definitions: ``docs/metrics.md``. Each scorer is an offer and a function in a module of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pertharness import Card, ScorerOffer, hookimpl

from pertharness_scorers import of_perturbations

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from pertharness import Scores, Task

_SCORERS: dict[str, tuple[ScorerOffer, Callable[..., pd.DataFrame | Scores]]] = {
    offer.name: (offer, function)
    for offer, function in (*((offer, of_perturbations.score_perturbations) for offer in of_perturbations.OFFERS),)
}
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
