"""Positions: where a model stands between the reference, 0, and the technical duplicate, 1.

The technical duplicate is one half of each held-out perturbation's cells as a prediction of the other half. All three
are scored against the same, second half. The duplicate is no ceiling: its error has the noise of two halves, that of a
perfect model the noise of one, so positions above 1 are possible and nothing is clipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from pertharness.contract.cards import MetricOffer
from pertharness.host.leaderboard.compare import KEYS, build_leaderboard, each_stratum
from pertharness.host.leaderboard.cube import Cube, build_cubes, mean_of_finite
from pertharness.host.leaderboard.settings import DUPLICATE, Comparison, TaskSettings

COLUMNS = ("position", "value_half", "range")
"""Columns that follow those of ``compare.COLUMNS``; empty unless a run calibrates."""

NO_RANGE = "one half of the cells predicts the other no better than the reference does: no range here, so no ranks"
DEFINITION = "one half of the cells as a prediction of the other half"

ROUNDING = 1e-9
"""Relative: means that differ by less than this are the same, computed in another order."""

_DIGITS = {"position": 9, "value_half": 12}  # Of a quotient of differences the last digits are rounding.
_RANKS = ("rank", "rank_low", "rank_high", "rank_stability", "filled_rank")
_TABLE = ["dataset", "task", "metric", "variant", "stratum"]
_ORDER = [*_TABLE, "rank", "model", "params", "plugin"]

Settings = Mapping[tuple[str, str], TaskSettings]


class Places(NamedTuple):
    """Where models stand, shape (n_models,), and whether there is a range: ``yes``, ``no``, or empty if unknown."""

    position: np.ndarray
    value: np.ndarray
    has_range: str


def add_positions(
    leaderboard: pd.DataFrame, half: pd.DataFrame, metrics: Mapping[str, MetricOffer], settings: Settings,
    comparison: Comparison, strata: pd.DataFrame, reasons: Mapping[tuple[str, ...], str],
) -> pd.DataFrame:  # fmt: skip
    """Return the leaderboard with the columns of `COLUMNS`, and with the technical duplicate's rows.

    Where the run calibrates there is a column ``at_duplicate``, too, for `tells.add_tells`: whether the model is as
    good as the technical duplicate or better, where the metric is not without a range.

    Parameters
    ----------
    leaderboard
        From `compare.build_leaderboard`. Of its rows no column is altered, but for the ranks and the note where a
        metric has no range.
    half
        Scores against the second half of the cells, of all models and of the duplicate, in the form that
        `compare.build_leaderboard` takes; empty in a run that does not calibrate.
    metrics, settings, comparison, strata
        As for `compare.build_leaderboard`.
    reasons
        Why the duplicate was not, or not wholly, scored, keyed likewise.
    """
    if half.empty:
        return leaderboard.assign(position=np.nan, value_half=np.nan, range="")
    placed = _place_all(half, metrics, settings, strata)
    duplicates = _duplicates(half, metrics, settings, comparison, strata, reasons)
    shown = pd.MultiIndex.from_frame(duplicates[_TABLE]).isin(pd.MultiIndex.from_frame(leaderboard[_TABLE]))
    rows = pd.concat([leaderboard, duplicates[shown]])
    frame = rows.merge(placed, on=list(KEYS), how="left", validate="one_to_one").fillna({"range": ""})
    without = frame["range"] == "no"
    for name in frame.columns.intersection(_RANKS):
        frame[name] = frame[name].mask(without)
    notes = frame.loc[without & (frame["model"] != DUPLICATE), "note"]
    frame.loc[notes.index, "note"] = NO_RANGE + notes.where(notes == "", "; " + notes)
    return frame.sort_values(_ORDER, na_position="last", ignore_index=True)


def own_note(note: str) -> str:
    """Return what a note says of its row, without what is so for the whole table."""
    return note.removeprefix(NO_RANGE).removeprefix("; ")


def place(answers: np.ndarray, reference: int | None, duplicate: int, sign: float) -> Places:
    """Place models between the reference, 0, and the duplicate, 1: (model - reference) / (duplicate - reference).

    Parameters
    ----------
    answers
        Scores against the second half, shape (n_models, n_rows), NaN where there is none. Each model is placed by means
        over the rows that it, the reference and the duplicate all have.
    reference, duplicate
        Their rows; no reference: no range is known.
    sign
        1 where higher scores are better, else -1. A metric has a range if the duplicate is better than the reference by
        more than rounding; a model is placed if that is so on its own rows as well.
    """
    none = np.full(len(answers), np.nan)
    shared = np.isfinite(answers) & np.isfinite(answers[duplicate])
    shared &= np.isfinite(answers[reference]) if reference is not None else False
    if reference is None or not shared[duplicate].any():
        return Places(none, none, "")
    of_model, zero, one = (
        mean_of_finite(np.where(shared, values, np.nan), axis=1)
        for values in (answers, answers[reference], answers[duplicate])
    )
    better = sign * (one - zero) > ROUNDING * np.maximum(np.abs(zero), np.abs(one))
    if not better[duplicate]:
        return Places(none, of_model, "no")
    with np.errstate(invalid="ignore", divide="ignore"):  # where there is no range on a model's own rows
        position = (of_model - zero) / (one - zero)
    return Places(np.where(better, position + 0.0, np.nan), of_model, "yes")  # no minus in front of a 0


def reaches_duplicate(answers: np.ndarray, duplicate: int, sign: float, best: float | None) -> np.ndarray:
    """Return which models are as good as the technical duplicate or better, shape (n_models,).

    Parameters
    ----------
    answers, duplicate, sign
        As for `place`. Each model is compared on the rows that it and the duplicate both have.
    best
        The best value of the metric. Where the duplicate has it, being as good says nothing.
    """
    shared = np.isfinite(answers) & np.isfinite(answers[duplicate])
    of_model, of_duplicate = (
        mean_of_finite(np.where(shared, values, np.nan), axis=1) for values in (answers, answers[duplicate])
    )
    rounding = ROUNDING * np.maximum(np.abs(of_model), np.abs(of_duplicate))
    reached: np.ndarray = sign * (of_model - of_duplicate) >= -rounding
    if best is not None:
        reached &= np.abs(of_duplicate - best) > ROUNDING * max(1.0, abs(best))
    reached[duplicate] = False
    return reached


def _place_all(
    half: pd.DataFrame, metrics: Mapping[str, MetricOffer], settings: Settings, strata: pd.DataFrame
) -> pd.DataFrame:
    """Return the places of all models, per metric, variant and stratum."""
    frames = [pd.DataFrame({name: [] for name in (*KEYS, *COLUMNS)})]
    for cube in build_cubes(half, metrics):
        reference = settings.get((cube.dataset, cube.task), TaskSettings()).reference
        for stratum, inside in each_stratum(cube, strata):
            best = metrics[cube.metric].best
            frames.append(_placed(cube, inside, reference, best).assign(stratum=stratum))
    placed: pd.DataFrame = pd.concat(frames[1:], ignore_index=True) if len(frames) > 1 else frames[0]
    return placed


def _placed(cube: Cube, inside: np.ndarray, reference: str, best: float | None) -> pd.DataFrame:
    """Return the places of the models of a cube, by its rows `inside`, and which are as good as the duplicate."""
    labels = [model.label for model in cube.models]
    zero = labels.index(reference) if reference in labels else None
    sign = -1.0 if cube.direction == "lower" else 1.0
    answers, duplicate = cube.answers()[:, inside], labels.index(DUPLICATE)
    places = place(answers, zero, duplicate, sign)
    at_duplicate = reaches_duplicate(answers, duplicate, sign, best) & (places.has_range != "no")
    numbers = {"position": places.position, "value_half": places.value}
    return pd.DataFrame(cube.models, columns=["plugin", "model", "params"]).assign(
        dataset=cube.dataset, task=cube.task, metric=cube.metric, variant=cube.variant, range=places.has_range,
        at_duplicate=at_duplicate,
        **{name: [float(f"{value:.{_DIGITS[name]}g}") for value in values] for name, values in numbers.items()},
    )  # fmt: skip


def _duplicates(
    half: pd.DataFrame, metrics: Mapping[str, MetricOffer], settings: Settings, comparison: Comparison,
    strata: pd.DataFrame, reasons: Mapping[tuple[str, ...], str],
) -> pd.DataFrame:  # fmt: skip
    """Return the technical duplicate's rows of the leaderboard: its means over all that it has, and no comparison."""
    rows = build_leaderboard(half[half["model"] == DUPLICATE], metrics, {}, comparison, strata, {})
    for name in rows.columns.intersection(_RANKS):
        rows[name] = rows[name].mask(np.ones(len(rows), dtype=bool))
    rows["set"] = np.where(rows["n"] > 0, "half", "")
    places = list(zip(rows["dataset"], rows["task"], strict=True))
    rows["reference"] = [settings.get(place, TaskSettings()).reference for place in places]
    why = [reasons.get((*place, DUPLICATE), "") for place in places]
    note = f"{DEFINITION}; no model, so neither compared nor ranked"
    rows["note"] = [f"{note}; {reason}" if reason else note for reason in why]
    return rows
