"""The mean curves: values of metrics along a coordinate, averaged over splits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from pertharness.contract.cards import MetricOffer
from pertharness.host.leaderboard.coded import code

CURVES = "curves"
"""Name of the table of mean curves."""
SUMMARY = "Mean over splits of every curve, with its standard error"
_CURVE_KEYS = ["dataset", "task", "plugin", "model", "params", "metric", "variant", "coordinate"]
_DIGITS = 12  # As on the leaderboard: more digits of a sum differ between machines.


def average_curves(scores: pd.DataFrame, metrics: Mapping[str, MetricOffer]) -> pd.DataFrame:
    """Return the mean over splits and its standard error, for every point of every curve.

    Parameters
    ----------
    scores
        From `pertharness.host.join.collect_scores.join_scores`; training seeds are averaged within a split first.
    metrics
        Metric -> its offer; only those of the level ``curve`` are used.

    Returns
    -------
    pandas.DataFrame
        dataset, task, plugin, model, params, metric, variant, coordinate, mean, se (sd with n - 1 over splits, divided
        by sqrt(n_splits); NaN for one split), n_splits; sorted. Splits without a value at a point are not counted.
    """
    none = pd.DataFrame(columns=[*_CURVE_KEYS, "mean", "se", "n_splits"])
    if scores.empty:
        return none
    curves = [name for name, offer in metrics.items() if offer.level == "curve"]
    points = scores[scores["metric"].isin(curves) & scores["coordinate"].notna() & scores["value"].notna()]
    if points.empty:
        return none
    points = points.astype({"coordinate": float, "value": float})
    # Sort by integers that sort as the names do, so that names are not compared for millions of points.
    names = {name: code(points[name]) for name in (*_CURVE_KEYS[:-1], "split")}
    points = points.assign(**{name: column.codes.astype(np.intp) for name, column in names.items()})
    ordered = points.sort_values([*_CURVE_KEYS, "split", "seed", "training_seed"])
    per_split = ordered.groupby([*_CURVE_KEYS, "split", "seed"])["value"].mean().reset_index()
    over = per_split.groupby(_CURVE_KEYS)["value"]
    n_splits = over.count()
    frame = pd.DataFrame({"mean": over.mean(), "se": over.std(ddof=1) / np.sqrt(n_splits)})
    rounded = frame.apply(lambda column: [float(f"{value:.{_DIGITS}g}") for value in column])
    averaged = rounded.assign(n_splits=n_splits).reset_index()
    return averaged.assign(**{name: names[name].values[averaged[name]] for name in _CURVE_KEYS[:-1]})
