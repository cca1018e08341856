"""The quantities of published numbers: each is computed from the files of a run, or has a reason why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pertharness.contract.labels import targets_of
from pertharness.host.reproduce.published import Number
from pertharness.host.reproduce.run_files import NotMeasured, RunFiles

if TYPE_CHECKING:
    import pandas as pd

THRESHOLD = "local"
"""The threshold to compare at, one of the two of the scorer ``interactions``."""


def measure(run: RunFiles, number: Number) -> float:
    """Return the value of a published number's quantity in a run.

    Raises
    ------
    NotMeasured
        With the reason.
    """
    return float(QUANTITIES[number.quantity](run, number))


def _with_targets(count: int) -> Callable[[RunFiles, Number], float]:
    """Return the quantity that counts the perturbations of a dataset with this number of targets."""
    return lambda run, number: sum(len(targets_of(label)) == count for label in run.perturbations(number.dataset))


def _splits(run: RunFiles, number: Number) -> float:
    """Count the splits."""
    return len(run.held_out(number.dataset))


def _held_out(run: RunFiles, number: Number) -> float:
    """Return the number of held-out perturbations, as the mean over splits."""
    return _mean_size(run.held_out(number.dataset))


def _held_out_common(run: RunFiles, number: Number) -> float:
    """Return the number of those that every model of the common set answered, as the mean over splits."""
    return _mean_size(run.answered(number.dataset))


def _answered_by_all(run: RunFiles, number: Number) -> float:
    """Count the singles that no model of the common set left unanswered where they were held out.

    The article's models predicted what they were trained on as well; here only held-out perturbations are requested, so
    that one which no split of the run holds out counts as answered.
    """
    held, answered = run.held_out(number.dataset), run.answered(number.dataset)
    refused = {name for seed, names in held.items() for name in names if name not in answered[seed]}
    return sum(len(targets_of(label)) == 1 and label not in refused for label in run.perturbations(number.dataset))


def _call(run: RunFiles, number: Number) -> float:
    """Return a column of the table ``interaction_call``."""
    return _cell(_at_threshold(run.table("interaction_call", number.dataset)), number.column)


def _interactions(run: RunFiles, number: Number) -> float:
    """Count the entries (doubles times genes) outside the thresholds."""
    table = _composition(run, number)
    return float(table.loc[table["class"] != "additive", "count"].sum())


def _entries(run: RunFiles, number: Number) -> float:
    """Count the entries (doubles times genes) that have a class, including additive ones."""
    return float(_composition(run, number)["count"].sum())


def _class_count(run: RunFiles, number: Number) -> float:
    """Count the entries of a class."""
    table = _composition(run, number)
    return _cell(table[table["class"] == number.column], "count")


def _class_share(run: RunFiles, number: Number) -> float:
    """Return the share of a class among all entries, in per cent."""
    table = _composition(run, number)
    return 100 * _cell(table[table["class"] == number.column], "share")


QUANTITIES: dict[str, Callable[[RunFiles, Number], float]] = {
    "singles": _with_targets(1), "doubles": _with_targets(2), "splits": _splits, "held_out": _held_out,
    "held_out_common": _held_out_common, "answered_by_all": _answered_by_all, "call": _call,
    "interactions": _interactions, "entries": _entries, "class_count": _class_count, "class_share": _class_share,
}  # fmt: skip
"""Name -> function; ``docs/reproduce.md`` describes each."""


def _mean_size(sets: dict[int, list[str]] | dict[int, set[str]]) -> float:
    if not sets:
        raise NotMeasured("the run has no split")
    return sum(map(len, sets.values())) / len(sets)


def _composition(run: RunFiles, number: Number) -> pd.DataFrame:
    return _at_threshold(run.table("class_composition", number.dataset))


def _at_threshold(table: pd.DataFrame) -> pd.DataFrame:
    chosen: pd.DataFrame = table[table["threshold"] == THRESHOLD] if "threshold" in table else table
    return chosen


def _cell(table: pd.DataFrame, column: str) -> float:
    """Return the only value of a column; each split repeats the same call, so repeats count once."""
    if column not in table:
        raise NotMeasured(f"the table has no column {column!r}; it has {', '.join(map(str, table))}")
    values = table[column].dropna().unique()
    if len(values) != 1:
        raise NotMeasured(f"{len(values)} values of {column!r} where one was expected")
    return float(values[0])
