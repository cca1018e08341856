"""The long form of scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("perturbation", "gene", "metric", "variant", "coordinate", "value")
"""Columns of a score table; ``gene`` and ``coordinate`` are empty where they do not apply, e.g. for an l2 distance."""

TABLE_COLUMNS = ("dataset", "task", "plugin", "model", "params", "split", "seed", "training_seed")
"""Columns that the harness adds in front of an artefact table; the table itself must not use these names."""

COMMON_GENES = "common-genes"
"""Variant over the genes that all compared models predict. A separate job computes it if a model lacks some genes;
``truth.var["common"]`` then marks the common ones."""


@dataclass(frozen=True)
class Scores:
    """A score table with further tables, each written as a file of the record.

    Attributes
    ----------
    table : pandas.DataFrame
        Scores in long form, the columns of `COLUMNS`.
    artefacts : dict of str to pandas.DataFrame
        Name -> table.
    """

    table: pd.DataFrame
    artefacts: dict[str, pd.DataFrame] = field(default_factory=dict)
