"""The quantities of published numbers: each is computed from the files of a run, or has a reason why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pertharness.contract.labels import targets_of
from pertharness.host.reproduce.published import Number
from pertharness.host.reproduce.run_files import NotMeasured, RunFiles

if TYPE_CHECKING:
    import pandas as pd

Quantity = Callable[[RunFiles, Number], float]

THRESHOLD = "local"
"""The threshold to compare at, one of the two of the scorer ``interactions``."""


def _with_targets(count: int) -> Quantity:
    """Return the quantity that counts the perturbations of a dataset with this number of targets."""
    return lambda run, number: sum(len(targets_of(label)) == count for label in run.perturbations(number.dataset))


def _splits(run: RunFiles, number: Number) -> float:
    """Count the splits."""
    return len(run.held_out(number.dataset))


def _held_out(run: RunFiles, number: Number) -> float:
    """Return the number of held-out perturbations, as the mean over splits."""
    return _mean_size(run.held_out(number.dataset))


def _held_out_common(run: RunFiles, number: Number) -> float:
    """Return the number of those that every model of the common set answered, as the sum over splits."""
    return sum(map(len, run.answered(number.dataset).values()))


def _held_out_common_mean(run: RunFiles, number: Number) -> float:
    """Return the same as the mean over splits."""
    return _mean_size(run.answered(number.dataset))


def _answered_by_all(run: RunFiles, number: Number) -> float:
    """Count the singles that every model of the common set answers, those of each split, training ones included.

    The article's models predicted all perturbations in each split, those that they were trained on as well. Here only
    held-out ones are requested: a training perturbation counts by the answers in the splits that hold it out.
    """
    held, answered = run.held_out(number.dataset), run.answered(number.dataset)
    known = _known_answers(held, answered)
    rows = 0
    for seed, names in held.items():
        trained = [known.get(label, False) for label in _singles(run, number) if label not in names]
        rows += sum(trained) + sum(len(targets_of(label)) == 1 for label in answered[seed])
    return _complete(run, number, known, rows, len(held))


def _answered_by_all_once(run: RunFiles, number: Number) -> float:
    """Count the same singles, each once."""
    known = _known_answers(run.held_out(number.dataset), run.answered(number.dataset))
    count = sum(known.get(label, False) for label in _singles(run, number))
    return _complete(run, number, known, count, 1)


def _split_size(run: RunFiles, number: Number) -> float:
    """Count the singles in a part of the split with the smallest seed."""
    splits = run.splits(number.dataset)
    if not splits:
        raise NotMeasured("the run has no split")
    parts = splits[min(splits)]
    if number.column not in parts:
        raise NotMeasured(f"the split has no part {number.column!r}; it has {', '.join(parts)}")
    return sum(len(targets_of(label)) == 1 for label in parts[number.column])


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


QUANTITIES: dict[str, Quantity] = {
    "singles": _with_targets(1), "doubles": _with_targets(2), "splits": _splits, "held_out": _held_out,
    "held_out_common": _held_out_common, "answered_by_all": _answered_by_all, "split_size": _split_size, "call": _call,
    "interactions": _interactions, "entries": _entries, "class_count": _class_count, "class_share": _class_share,
}  # fmt: skip
"""Name -> function; ``docs/reproduce.md`` describes each."""


@dataclass(frozen=True)
class Basis:
    """What a published number may count where its source does not say."""

    words: str
    measure: Quantity


BASES: dict[str, tuple[Basis, Basis]] = {
    "held_out_common": (Basis("sum", _held_out_common), Basis("mean", _held_out_common_mean)),
    "answered_by_all": (Basis("sum", _answered_by_all), Basis("once", _answered_by_all_once)),
}
"""Quantity -> the basis to which a published number is compared, inferred from the authors' code, and the other."""


def _singles(run: RunFiles, number: Number) -> list[str]:
    """Return the perturbations of one target of a dataset."""
    return [label for label in run.perturbations(number.dataset) if len(targets_of(label)) == 1]


def _known_answers(held: Mapping[int, list[str]], answered: Mapping[int, set[str]]) -> dict[str, bool]:
    """Return, of each perturbation that a split holds out, whether all models answered it in all such splits."""
    known: dict[str, bool] = {}
    for seed, names in held.items():
        for label in names:
            known[label] = known.get(label, True) and label in answered[seed]
    return known


def _complete(run: RunFiles, number: Number, known: Mapping[str, bool], count: int, n_rows: int) -> float:
    """Return the count if all singles have an answer; each without one could add `n_rows`.

    Raises
    ------
    NotMeasured
        With the bounds, if some single is held out in no split.
    """
    singles = _singles(run, number)
    n_unknown = sum(label not in known for label in singles)
    if n_unknown:
        raise NotMeasured(
            f"between {count} and {count + n_unknown * n_rows}: {n_unknown} of {len(singles)} singles are held out in "
            "no split, so no model was asked for them"
        )
    return count


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
