"""Make the leaderboard from scores: common sets, intervals, verdicts and ranks.

``docs/leaderboard.md`` explains the rules. Each step below returns some of the leaderboard's columns for all models of
one dataset, task, metric, variant and stratum, as arrays with one entry per model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from pertharness.contract.cards import MetricOffer
from pertharness.host.leaderboard.bootstrap import Bootstrap, holm, two_sided_p
from pertharness.host.leaderboard.comparison import (
    ALPHA,
    FEWEST_PERTURBATIONS,
    Comparison,
    TaskSettings,
    has_test_weights,
)
from pertharness.host.leaderboard.cube import NOT_EXPECTED, STATES, Cube, build_cubes, mean_of_finite
from pertharness.host.leaderboard.notes import model_notes

KEYS = ("dataset", "task", "plugin", "model", "params", "metric", "variant", "stratum")
_KINDS = {
    "value": float, "low": float, "high": float, "se": float, "scored": int, "expected": int, "rank": int, "state": str,
    "set": str, "n": int, "n_perturbations": int, "n_splits": int, "rank_low": int, "rank_high": int,
    "rank_stability": float, "reference": str, "difference": float, "difference_low": float, "difference_high": float,
    "n_shared": int, "p_holm": float, "verdict": str, "filled_value": float, "filled_n": int, "filled_by_mean": int,
    "filled_rank": int, "sd_split": float, "sd_training": float, "selected_on_scored": str, "value_test_only": float,
    "direction": str, "note": str,
}  # fmt: skip
COLUMNS = (*KEYS, *_KINDS)
"""Columns of the leaderboard, in the order of ``leaderboard.csv``."""

_DIGITS = 12  # Sums differ beyond this between BLAS builds; rounded numbers are the same bytes on every machine.

Columns = dict[str, Any]


def build_leaderboard(
    scores: pd.DataFrame,
    metrics: Mapping[str, MetricOffer],
    settings: Mapping[tuple[str, str], TaskSettings],
    comparison: Comparison,
    strata: pd.DataFrame,
    reasons: Mapping[tuple[str, ...], str],
) -> pd.DataFrame:
    """Return the leaderboard: a row per dataset, task, model, metric, variant and stratum.

    Parameters
    ----------
    scores
        A row per expected value: dataset, task, split, seed, training_seed, plugin, model, params, perturbation, gene,
        metric, variant, coordinate, value (NaN unless scored), state, part (``test`` or ``val``), selected_on_scored.
        Values of single genes and coordinates are ignored.
    metrics
        Metric -> its offer.
    settings
        (dataset, task) -> reference and common set.
    strata
        Columns dataset, perturbation, effect (NaN if unknown) and on_target (``yes``, ``no`` or empty).
    reasons
        (dataset, task, model label, metric), or the first three for all other metrics -> the reason why the model's
        worst record is not done. The reason goes into the note.

    Returns
    -------
    pandas.DataFrame
        The columns of `COLUMNS`, sorted; the order of `scores` makes no difference.

    Raises
    ------
    DataError
        If no card declares a metric, or if a state is unknown.
    """
    bootstrap = Bootstrap(comparison.resamples, comparison.seed, comparison.confidence)
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    if scores.empty:
        return _frame(columns)
    for cube in build_cubes(scores, metrics):
        task = settings.get((cube.dataset, cube.task), TaskSettings())
        model_keys = [(cube.dataset, cube.task, model.label) for model in cube.models]
        model_reasons = [reasons.get((*model_key, cube.metric), reasons.get(model_key, "")) for model_key in model_keys]
        measured = set(strata.loc[strata["dataset"] == cube.dataset, "perturbation"])
        for stratum, inside in each_stratum(cube, strata):
            compared = _compare(cube, inside, task, comparison, bootstrap, model_reasons, measured)
            compared |= {"stratum": [stratum] * len(cube.models)}
            for name, column in columns.items():
                column.extend(compared[name])
    return _frame(columns)


def _frame(columns: dict[str, list[Any]]) -> pd.DataFrame:
    """Type and sort the leaderboard."""
    frame = pd.DataFrame(columns, columns=list(COLUMNS))
    for name, kind in _KINDS.items():
        if kind is float:
            frame[name] = [_rounded(value) for value in frame[name]]
        if kind is int:
            frame[name] = frame[name].astype("float64").astype("Int64")
    by = ["dataset", "task", "metric", "variant", "stratum", "rank", "model", "params", "plugin"]
    leaderboard: pd.DataFrame = frame.sort_values(by, na_position="last", ignore_index=True)
    return leaderboard


def _rounded(value: float) -> float:
    """Round to the digits that do not depend on the order of a sum."""
    return float(f"{value:.{_DIGITS}g}")


def each_stratum(cube: Cube, strata: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each non-empty stratum, with a mask over the rows of the cube."""
    table = strata[strata["dataset"] == cube.dataset].drop_duplicates("perturbation").set_index("perturbation")
    effects = table["effect"].reindex(np.unique(cube.perturbation)).astype("float64").dropna()
    strong = effects.index[effects >= effects.median()]
    on_target = table.index[table["on_target"] == "yes"]
    for name, members in (("all", cube.perturbation), ("strong-effect", strong), ("on-target", on_target)):
        inside = pd.Index(cube.perturbation).isin(members)
        if inside.any():
            yield name, inside


def _compare(
    cube: Cube,
    inside: np.ndarray,
    task: TaskSettings,
    comparison: Comparison,
    bootstrap: Bootstrap,
    model_reasons: list[str],
    measured: Collection[str],
) -> Columns:
    """Return all columns except the stratum, for the rows `inside`."""
    answers = cube.answers()
    rows = np.arange(len(inside))
    alone = comparison.bootstrap == "rows" and not cube.whole_splits
    units = rows if alone else np.unique(cube.perturbation, return_inverse=True)[1]
    sign = -1.0 if cube.direction == "lower" else 1.0
    labels = [model.label for model in cube.models]
    named = np.array([label in task.common_set for label in labels])
    listed = named & np.isfinite(answers).any(axis=1)
    common = inside & np.isfinite(answers[listed]).all(axis=0)
    columns: Columns = dict(zip(("plugin", "model", "params"), zip(*cube.models, strict=True), strict=True))
    for name in ("dataset", "task", "metric", "variant", "direction"):
        columns[name] = [getattr(cube, name)] * len(labels)
    columns |= _counts(cube, inside)
    columns |= _own_values(cube, answers, common, cube.alike(named, measured))
    sets = columns.pop("sets")
    columns |= _intervals(answers, sets, units, bootstrap)
    # Whether models with test weights are in the run changes nothing for the others.
    compared = np.where([[has_test_weights(model.model)] for model in cube.models], np.nan, answers)
    columns |= _ranks(compared, columns, common, units, sign, bootstrap)
    # Models outside the list are compared with the reference on all rows that both answered.
    pairs = np.where(listed[:, None], sets, np.isfinite(compared) & inside)
    columns |= _differences(cube, compared, pairs, units, sign, _find(labels, task.reference), bootstrap)
    columns |= _filled(compared, inside, sign, _find(labels, comparison.fill))
    columns["reference"] = [task.reference] * len(labels)
    columns["selected_on_scored"] = ["yes" if selected else "" for selected in cube.selected]
    columns["note"] = model_notes(cube, inside, columns, task, model_reasons)
    columns |= _of_whole_splits(columns) if cube.whole_splits else {"se": [np.nan] * len(labels)}
    return columns | (_unmatched(columns) if cube.unranked else {})


def _unmatched(columns: Columns) -> Columns:
    """Return blank columns in place of comparisons, for a variant whose values are not comparable between models."""
    none = [np.nan] * len(columns["value"])
    compared = ("rank", "difference", "p_holm", "filled")
    blank = [name for name in columns if name.startswith(compared)]
    return {**dict.fromkeys(blank, none), "verdict": [""] * len(none)}


def _of_whole_splits(columns: Columns) -> Columns:
    """Return the columns that differ where each split has one value: a standard error in place of perturbations.

    The splits of a screen are few and overlap, so resampling them would not give an interval.
    """
    none = [np.nan] * len(columns["value"])
    n = np.maximum(columns["n_splits"], 1)
    verdict = np.where(np.asarray(columns["verdict"]) == "reference", "reference", "").astype(object)
    blank = ("n_perturbations", "n_shared", "filled_value", "filled_n", "filled_by_mean", "filled_rank")
    return {"se": np.asarray(columns["sd_split"]) / np.sqrt(n), "verdict": verdict, **dict.fromkeys(blank, none)}


def _find(labels: list[str], label: str) -> int | None:
    """Return the position of a model, or None if it is not in the run."""
    return labels.index(label) if label in labels else None


def _rank(values: np.ndarray, sign: float) -> np.ndarray:
    """Rank along the first axis: 1 + the number of better values. Ties share the smallest rank; NaN has no rank."""
    oriented = sign * values
    tolerance = 1e-12 * np.abs(np.nan_to_num(values)).max(initial=0.0)
    ranks = 1.0 + (oriented[None] > oriented[:, None] + tolerance).sum(axis=1)
    return np.where(np.isfinite(values), ranks, np.nan)


def _counts(cube: Cube, inside: np.ndarray) -> Columns:
    """Count the expected and the scored values, and return them with the worst state of the records."""
    named = inside & ((cube.perturbation != "") | cube.whole_splits)
    expected = (cube.states[:, :, named] != NOT_EXPECTED).sum(axis=(1, 2))
    # A model without any entry was not scored by this metric. Show it with the full number of expected values.
    worst = cube.states.max(axis=(1, 2))
    worst[worst == NOT_EXPECTED] = STATES.index("skipped")
    return {
        "expected": np.where(expected > 0, expected, named.sum()),
        "scored": np.isfinite(cube.values[:, :, inside]).sum(axis=(1, 2)),
        "state": [STATES[code] if code >= STATES.index("skipped") else "done" for code in worst],
    }


def _own_values(cube: Cube, answers: np.ndarray, common: np.ndarray, alike: np.ndarray) -> Columns:
    """Return each model's mean over its part of the common set, and its variation between seeds."""
    sets = np.isfinite(answers) & common
    n = sets.sum(axis=1)
    whole = (n == common.sum()) & (n > 0) & alike
    common_values = np.where(sets, answers, np.nan)
    return {
        "sets": sets,
        "set": np.where(whole, "common", np.where(n > 0, "own", "")),
        "n": n,
        "n_perturbations": [len(set(cube.perturbation[chosen])) for chosen in sets],
        "n_splits": [len(set(cube.split[chosen])) for chosen in sets],
        "value": mean_of_finite(common_values, axis=1),
        "value_test_only": mean_of_finite(np.where(cube.test, common_values, np.nan), axis=1),
        "sd_split": [_sd_split(row, cube.split) for row in common_values],
        "sd_training": [_sd_training(values[:, chosen]) for values, chosen in zip(cube.values, sets, strict=True)],
    }


def _sd_split(row: np.ndarray, split: np.ndarray) -> float:
    """Return the sd (n - 1) over splits of a model's mean per split; NaN for one split."""
    scored = np.isfinite(row)
    n = np.bincount(split[scored])
    means = np.bincount(split[scored], weights=row[scored])[n > 0] / n[n > 0]
    return float(means.std(ddof=1)) if len(means) > 1 else np.nan


def _sd_training(values: np.ndarray) -> float:
    """Return the sd (n - 1) over training seeds of the mean over the rows that every seed scored."""
    used = values[np.isfinite(values).any(axis=1)]
    shared = used[:, np.isfinite(used).all(axis=0)]
    return float(shared.mean(axis=1).std(ddof=1)) if len(shared) > 1 and shared.shape[1] else np.nan


def _alike(masks: np.ndarray, units: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield groups of models with the same rows, and these rows; skip rows of fewer than two units."""
    groups: dict[bytes, list[int]] = {}
    for position, mask in enumerate(masks):
        groups.setdefault(mask.tobytes(), []).append(position)
    for members in groups.values():
        rows = masks[members[0]]
        if len(set(units[rows])) > 1:
            yield np.array(members), rows


def _intervals(answers: np.ndarray, sets: np.ndarray, units: np.ndarray, bootstrap: Bootstrap) -> Columns:
    """Return the percentile interval of each model's mean."""
    low, high = np.full((2, len(answers)), np.nan)
    for members, rows in _alike(sets, units):
        samples = bootstrap.means(answers[np.ix_(members, rows)], units[rows])
        low[members], high[members] = bootstrap.interval(samples)
    return {"low": low, "high": high}


def _ranks(
    answers: np.ndarray, columns: Columns, common: np.ndarray, units: np.ndarray, sign: float, bootstrap: Bootstrap
) -> Columns:
    """Rank the models that scored the whole common set, and return how stable the rank is over resamples."""
    ranked = np.flatnonzero((columns["set"] == "common") & np.isfinite(answers).any(axis=1))
    rank, low, high, stability = np.full((4, len(answers)), np.nan)
    rank[ranked] = _rank(columns["value"][ranked], sign)
    if len(ranked) and len(set(units[common])) > 1:
        samples = _rank(bootstrap.means(answers[np.ix_(ranked, common)], units[common]), sign)
        low[ranked], high[ranked] = bootstrap.interval(samples, whole=True)
        stability[ranked] = (samples == rank[ranked, None]).mean(axis=1)
    return {"rank": rank, "rank_low": low, "rank_high": high, "rank_stability": stability}


def _differences(
    cube: Cube,
    answers: np.ndarray,
    pairs: np.ndarray,
    units: np.ndarray,
    sign: float,
    reference: int | None,
    bootstrap: Bootstrap,
) -> Columns:
    """Compare each model with the reference on the rows in `pairs` that the reference scored too."""
    shared = np.zeros_like(pairs) if reference is None else pairs & np.isfinite(answers[reference])
    change = answers - answers[reference or 0]
    difference = mean_of_finite(np.where(shared, change, np.nan), axis=1)
    n_shared = np.array([len(set(cube.perturbation[rows])) for rows in shared])
    low, high, p = np.full((3, len(answers)), np.nan)
    others = np.array([position != reference for position in range(len(answers))])
    for members, rows in _alike(shared & others[:, None], units):
        samples = bootstrap.means(change[np.ix_(members, rows)], units[rows])
        low[members], high[members] = bootstrap.interval(samples)
        p[members] = two_sided_p(samples, tolerance=1e-12 * float(np.abs(answers[reference, rows]).max()))
    p = holm(np.where(n_shared >= FEWEST_PERTURBATIONS, p, np.nan))
    comparable = others & pairs.any(axis=1) & shared.any()
    clear = np.where(sign * difference > 0, "better", "worse")
    verdict = np.where(comparable, np.where(p < ALPHA, clear, "undecided"), "").astype(object)
    if reference is not None and shared[reference].any():
        verdict[reference] = "reference"
    blank = np.where(others, 1.0, np.nan)
    return {
        "difference": difference * blank,
        "difference_low": low,
        "difference_high": high,
        "n_shared": n_shared * blank,
        "p_holm": p,
        "verdict": verdict,
    }


def _filled(answers: np.ndarray, inside: np.ndarray, sign: float, fill: int | None) -> Columns:
    """Return the means over all held-out rows, with the fill baseline's score where a model's is missing."""
    rows = np.zeros_like(inside) if fill is None else inside & np.isfinite(answers[fill])
    scored = np.isfinite(answers)
    present = (scored & rows).any(axis=1)  # A model without any score does not get the baseline's.
    value = mean_of_finite(np.where(rows, np.where(scored, answers, answers[fill or 0]), np.nan), axis=1)
    value = np.where(present, value, np.nan)
    return {
        "filled_value": value,
        "filled_n": np.where(present, rows.sum(), np.nan),
        "filled_by_mean": np.where(present, (rows & ~scored).sum(axis=1), np.nan),
        "filled_rank": _rank(value, sign),
    }
