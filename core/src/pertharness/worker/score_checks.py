"""Check the contract of ``score``: the score table and its artefacts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness.contract.scores import COLUMNS, TABLE_COLUMNS, Scores
from pertharness.worker.refusals import Refuse, list_some, refusal_of

if TYPE_CHECKING:
    import pandas as pd

    from pertharness.contract.cards import ScorerOffer, TableOffer

RESERVED = ("scores", "curves")
"""Names of tables that the harness writes itself; no artefact may use them."""


def check_scores(table: Any, offer: ScorerOffer, queries: list[str], plugin: str) -> pd.DataFrame:
    """Check a score table, and return it with its columns in order.

    Raises
    ------
    ContractError
        If a column is missing, a metric or variant is not on the card, a perturbation was not requested, a score is
        duplicated, or a value is not a number.
    """
    import pandas as pd

    refuse = refusal_of(plugin, "score", offer.name)
    table = table.table if isinstance(table, Scores) else table
    if not isinstance(table, pd.DataFrame):
        raise refuse(f"returned {type(table).__name__}, expected a DataFrame or a pertharness.Scores")
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise refuse(f"the table has no column {missing[0]!r}; expected {', '.join(COLUMNS)}")
    table = table.loc[:, list(COLUMNS)]
    _check_announced(table, offer, queries, refuse)
    keys = [table[column].tolist() for column in COLUMNS[:-1]]
    if len(set(zip(*keys, strict=True))) < len(table):
        row = table[table.duplicated(list(COLUMNS[:-1]))].iloc[0]
        raise refuse(f"duplicate value of {row['metric']!r} ({row['variant']!r}) for {row['perturbation']!r}")
    if len(table) and table["value"].dtype.kind not in "fiu":
        raise refuse(f"the column 'value' has {table['value'].iloc[0]!r}, expected numbers, NaN if undefined")
    infinite = np.isinf(table["value"].to_numpy(dtype=float))
    if infinite.any():
        row = table[infinite].iloc[0]
        raise refuse(f"{row['metric']!r} is {row['value']} for {row['perturbation']!r}; expected NaN if undefined")
    return table


def _check_announced(table: pd.DataFrame, offer: ScorerOffer, queries: list[str], refuse: Refuse) -> None:
    """Raise an error for metrics, variants and levels that are not on the card, or perturbations not requested."""
    announced = {(metric.id, variant) for metric in offer.metrics for variant in metric.variants}
    metrics, labels = table["metric"].tolist(), table["perturbation"].tolist()
    for metric, variant in dict.fromkeys(zip(metrics, table["variant"].tolist(), strict=True)):
        if (metric, variant) not in announced:
            raise refuse(f"metric {metric!r}, variant {variant!r} is not on the card (it has {list_some(announced)})")
    levels = {metric.id: metric.level for metric in offer.metrics}
    allowed = {*queries, ""}
    for metric, label in dict.fromkeys(zip(metrics, labels, strict=True)):
        if label not in allowed:
            raise refuse(f"the perturbation {label!r} was not requested")
        if levels[metric] == ("task" if label else "perturbation"):
            subject = "a perturbation" if label else "no perturbation"
            raise refuse(f"a value of {metric!r} names {subject}; its level is {levels[metric]!r}")


def check_artefacts(scores: Any, offer: ScorerOffer, plugin: str) -> dict[str, pd.DataFrame]:
    """Check the artefacts of a scorer, and return them by name.

    Raises
    ------
    ContractError
        If an artefact is not a table, has an invalid name, or does not match the card.
    """
    import pandas as pd

    tables = scores.artefacts if isinstance(scores, Scores) else {}
    for name, table in tables.items():
        problem = ""
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or name in RESERVED:
            problem = f"an artefact is called {name!r}; expected letters, digits, '_' or '-', not {list_some(RESERVED)}"
        elif not isinstance(table, pd.DataFrame):
            problem = f"the artefact {name!r} is a {type(table).__name__}, expected a DataFrame"
        else:
            problem = next(
                (_wrong_with(table_offer, table) for table_offer in offer.tables if table_offer.name == name), ""
            )
        if problem:
            raise refusal_of(plugin, "score", offer.name)(problem)
    return tables


def _wrong_with(offer: TableOffer, table: pd.DataFrame) -> str:
    """Return why a table cannot be joined across models and splits as its card requires; empty if it can."""
    taken = [name for name in table.columns if name in TABLE_COLUMNS]
    if taken:
        return f"the table {offer.name!r} has a column {taken[0]!r}, which the harness adds; rename it"
    needed = [*offer.count, *(offer.largest or ())[:1]]
    absent = [name for name in needed if name not in (*table.columns, *TABLE_COLUMNS)]
    if absent:
        return f"the table {offer.name!r} has no column {absent[0]!r}, which its card uses to join tables"
    if offer.largest and len(table) and table[offer.largest[0]].dtype.kind not in "fiu":
        return f"the column {offer.largest[0]!r} of the table {offer.name!r} has no numbers"
    return ""
