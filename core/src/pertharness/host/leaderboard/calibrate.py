"""Positions of models on a scale from the reference, 0, to the technical duplicate, 1.

The technical duplicate is one half of each held-out perturbation's cells as a prediction of the other half. All models
are scored against the same second half. The duplicate is not a ceiling: its error has the noise of two halves, that of
a perfect model the noise of one. So positions above 1 are possible, and nothing is clipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from pertharness.contract.cards import MetricOffer
from pertharness.host.leaderboard.compare import KEYS, build_leaderboard, each_stratum
from pertharness.host.leaderboard.comparison import DUPLICATE, Comparison, TaskSettings, has_test_weights
from pertharness.host.leaderboard.cube import Cube, build_cubes, mean_of_finite

COLUMNS = ("position", "value_half", "range")
"""Columns that follow those of ``compare.COLUMNS``; empty unless a run calibrates."""

NO_RANGE = "not ranked: one half of the cells predicts the other half no better than the reference does"
DEFINITION = "one half of the cells as a prediction of the other half"

ROUNDING = 1e-9
"""Relative difference below which two means are equal except for the order of the sum."""

_DIGITS = {"position": 9, "value_half": 12}  # The last digits of a quotient of differences are rounding.
_RANKS = ("rank", "rank_low", "rank_high", "rank_stability", "filled_rank")
_TABLE = ["dataset", "task", "metric", "variant", "stratum"]
_ORDER = [*_TABLE, "rank", "model", "params", "plugin"]

Settings = Mapping[tuple[str, str], TaskSettings]


class Positions(NamedTuple):
    """Positions and values of models, shape (n_models,), and whether a range exists: ``yes``, ``no`` or empty."""

    position: np.ndarray
    value: np.ndarray
    has_range: str


def add_positions(
    leaderboard: pd.DataFrame, half: pd.DataFrame, metrics: Mapping[str, MetricOffer], settings: Settings,
    comparison: Comparison, strata: pd.DataFrame, reasons: Mapping[tuple[str, ...], str],
) -> pd.DataFrame:  # fmt: skip
    """Return the leaderboard with the columns of `COLUMNS`, and with the technical duplicate's rows.

    A run that calibrates also gets a column ``at_duplicate`` for `model_facts.add_model_facts`: whether the model is at
    least as good as the technical duplicate; False where the metric has no range.

    Parameters
    ----------
    leaderboard
        From `compare.build_leaderboard`. Its columns stay as they are, except the ranks and the note where a metric
        has no range.
    half
        Scores against the second half of the cells, of all models and of the duplicate, in the form that
        `compare.build_leaderboard` takes; empty for a run that does not calibrate.
    metrics, settings, comparison, strata
        As for `compare.build_leaderboard`.
    reasons
        (dataset, task, model label) -> the reason why the duplicate was not fully scored.
    """
    if half.empty:
        return leaderboard.assign(position=np.nan, value_half=np.nan, range="")
    positions = _all_positions(half, metrics, settings, strata)
    duplicates = _duplicate_rows(half, metrics, settings, comparison, strata, reasons)
    is_shown = pd.MultiIndex.from_frame(duplicates[_TABLE]).isin(pd.MultiIndex.from_frame(leaderboard[_TABLE]))
    rows = pd.concat([leaderboard, duplicates[is_shown]])
    frame = rows.merge(positions, on=list(KEYS), how="left", validate="one_to_one").fillna({"range": ""})
    without_range = frame["range"] == "no"
    for name in frame.columns.intersection(_RANKS):
        frame[name] = frame[name].mask(without_range)
    notes = frame.loc[without_range & (frame["model"] != DUPLICATE), "note"]
    frame.loc[notes.index, "note"] = NO_RANGE + notes.where(notes == "", "; " + notes)
    return frame.sort_values(_ORDER, na_position="last", ignore_index=True)


def own_note(note: str) -> str:
    """Return a note without the part that applies to the whole table."""
    return note.removeprefix(NO_RANGE).removeprefix("; ")


def compute_positions(answers: np.ndarray, reference: int | None, duplicate: int, sign: float) -> Positions:
    """Return positions of models: (model - reference) / (duplicate - reference).

    Parameters
    ----------
    answers
        Scores against the second half, shape (n_models, n_rows), NaN where missing. Each position is computed from
        means over the rows that the model, the reference and the duplicate all have.
    reference, duplicate
        Rows of `answers`. Without a reference, no range is known.
    sign
        1 where higher scores are better, else -1. A metric has a range if the duplicate is better than the reference by
        more than rounding. A model has a position if this also holds on its own rows.
    """
    none = np.full(len(answers), np.nan)
    shared = np.isfinite(answers) & np.isfinite(answers[duplicate])
    shared &= np.isfinite(answers[reference]) if reference is not None else False
    if reference is None or not shared[duplicate].any():
        return Positions(none, none, "")
    of_model, of_reference, of_duplicate = (
        mean_of_finite(np.where(shared, values, np.nan), axis=1)
        for values in (answers, answers[reference], answers[duplicate])
    )
    better = sign * (of_duplicate - of_reference) > ROUNDING * np.maximum(np.abs(of_reference), np.abs(of_duplicate))
    if not better[duplicate]:
        return Positions(none, of_model, "no")
    with np.errstate(invalid="ignore", divide="ignore"):  # a model's own rows may have no range
        position = (of_model - of_reference) / (of_duplicate - of_reference)
    return Positions(np.where(better, position + 0.0, np.nan), of_model, "yes")  # turns -0.0 into 0.0


def reaches_duplicate(answers: np.ndarray, duplicate: int, sign: float, best: float | None) -> np.ndarray:
    """Return which models are at least as good as the technical duplicate, shape (n_models,).

    Parameters
    ----------
    answers, duplicate, sign
        As for `compute_positions`. Each model is compared on the rows that it and the duplicate both have.
    best
        The best value of the metric. If the duplicate reaches it, no model is marked.
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


def _all_positions(
    half: pd.DataFrame, metrics: Mapping[str, MetricOffer], settings: Settings, strata: pd.DataFrame
) -> pd.DataFrame:
    """Return the positions of all models, per metric, variant and stratum."""
    frames = [pd.DataFrame({name: [] for name in (*KEYS, *COLUMNS)})]
    for cube in build_cubes(half, metrics):
        reference = settings.get((cube.dataset, cube.task), TaskSettings()).reference
        for stratum, inside in each_stratum(cube, strata):
            best = metrics[cube.metric].best
            frames.append(_cube_positions(cube, inside, reference, best).assign(stratum=stratum))
    positions: pd.DataFrame = pd.concat(frames[1:], ignore_index=True) if len(frames) > 1 else frames[0]
    return positions


def _cube_positions(cube: Cube, inside: np.ndarray, reference: str, best: float | None) -> pd.DataFrame:
    """Return the positions of a cube's models on the rows `inside`, and which reach the duplicate."""
    labels = [model.label for model in cube.models]
    reference_row = labels.index(reference) if reference in labels else None
    sign = -1.0 if cube.direction == "lower" else 1.0
    answers, duplicate = cube.answers()[:, inside], labels.index(DUPLICATE)
    positions = compute_positions(answers, reference_row, duplicate, sign)
    at_duplicate = reaches_duplicate(answers, duplicate, sign, best) & (positions.has_range != "no")
    is_tested = [has_test_weights(model.model) for model in cube.models]
    numbers = {"position": np.where(is_tested, np.nan, positions.position), "value_half": positions.value}
    return pd.DataFrame(cube.models, columns=["plugin", "model", "params"]).assign(
        dataset=cube.dataset, task=cube.task, metric=cube.metric, variant=cube.variant, range=positions.has_range,
        at_duplicate=at_duplicate,
        **{name: [float(f"{value:.{_DIGITS[name]}g}") for value in values] for name, values in numbers.items()},
    )  # fmt: skip


def _duplicate_rows(
    half: pd.DataFrame, metrics: Mapping[str, MetricOffer], settings: Settings, comparison: Comparison,
    strata: pd.DataFrame, reasons: Mapping[tuple[str, ...], str],
) -> pd.DataFrame:  # fmt: skip
    """Return the technical duplicate's rows of the leaderboard: means over all its values, without comparisons."""
    rows = build_leaderboard(half[half["model"] == DUPLICATE], metrics, {}, comparison, strata, {})
    for name in rows.columns.intersection(_RANKS):
        rows[name] = rows[name].mask(np.ones(len(rows), dtype=bool))
    rows["set"] = np.where(rows["n"] > 0, "half", "")
    task_keys = list(zip(rows["dataset"], rows["task"], strict=True))
    rows["reference"] = [settings.get(task_key, TaskSettings()).reference for task_key in task_keys]
    duplicate_reasons = [reasons.get((*task_key, DUPLICATE), "") for task_key in task_keys]
    note = f"{DEFINITION}; no model, so neither compared nor ranked"
    rows["note"] = [f"{note}; {reason}" if reason else note for reason in duplicate_reasons]
    return rows
