"""The reference scorers, which compute the metrics of Ahlmann-Eltze, Huber & Anders, doi 10.1038/s41592-025-02772-6.

Definitions: ``docs/metrics.md``. Each scorer is an offer and a function in a module of its own.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pertharness import Card, hookimpl

from pertharness_scorers.benchmarks import AHLMANN_ELTZE_2025

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from pertharness import Scores, Task

    Function = Callable[..., pd.DataFrame | Scores]


_FUNCTIONS = {
    "l2": "of_perturbations:score_perturbations", "pearson": "of_perturbations:score_perturbations",
    "pearson_delta": "of_perturbations:score_perturbations", "l2_by_rank": "by_rank:score_by_rank",
    "gene_sd": "gene_sd:score_gene_sd", "relative_error": "relative_error:score_relative_error",
    "target_change": "target_change:score_target_change", "context_error": "context_error:score_context_error",
    "interactions": "interaction_offer:score", "calibration": "calibration:score_calibration",
}  # fmt: skip
"""Scorer -> module and function, which takes only the arguments that it needs; a job imports one module."""


@hookimpl
def describe() -> Card:
    """Return the card of all scorers, and of the benchmark that they come from."""
    modules = dict.fromkeys(function.partition(":")[0] for function in _FUNCTIONS.values())
    loaded = [importlib.import_module(f"{__name__}.{module}") for module in modules]
    offers = [offer for module in loaded for offer in getattr(module, "OFFERS", None) or (module.OFFER,)]
    return Card(scorers=tuple(offers), recipes=(AHLMANN_ELTZE_2025,))


@hookimpl
def score(
    name: str, truth: AnnData, prediction: AnnData, controls: AnnData, train: AnnData, screen: AnnData,
    references: Mapping[str, AnnData], task: Task, params: Mapping[str, Any], seed: int,
) -> pd.DataFrame | Scores:  # fmt: skip
    """Return the scores of one scorer: its table, with larger tables beside it where the card announces some.

    Returns
    -------
    pandas.DataFrame or Scores
        Columns of ``pertharness.contract.scores.COLUMNS``. An undefined score is NaN; an unanswered query has no row.

    Raises
    ------
    DataError
        If a parameter is out of its range.
    """
    arguments = {
        "name": name, "truth": truth, "prediction": prediction, "controls": controls, "train": train,
        "screen": screen, "references": references, "task": task, "params": params, "seed": seed,
    }  # fmt: skip
    module, _, attribute = _FUNCTIONS[name].partition(":")
    function: Function = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    return function(**{argument: arguments[argument] for argument in inspect.signature(function).parameters})
