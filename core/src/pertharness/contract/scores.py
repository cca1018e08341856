"""The long form of scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("perturbation", "gene", "metric", "variant", "coordinate", "value")
"""Of a score table; ``gene`` and ``coordinate`` are empty where they mean nothing, e.g. for an l2 of a perturbation."""

TABLE_COLUMNS = ("dataset", "task", "plugin", "model", "params", "split", "seed", "training_seed")
"""Columns that the harness puts before those of a table beside the scores; no table has one of that name itself."""

COMMON_GENES = "common-genes"
"""Variant over the genes that all compared models predict: asked for by a job of its own, where one of them lacks some;
``truth.var["common"]`` then tells these genes."""


@dataclass(frozen=True)
class Scores:
    """A score table with larger tables beside it, each written as a file of the record.

    Attributes
    ----------
    table : pandas.DataFrame
        Scores in long form, the columns of `COLUMNS`.
    artefacts : dict of str to pandas.DataFrame
        Name -> table.
    """

    table: pd.DataFrame
    artefacts: dict[str, pd.DataFrame] = field(default_factory=dict)
