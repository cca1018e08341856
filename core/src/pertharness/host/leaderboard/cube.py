"""The scores of one dataset, task and metric as an array: models x training seeds x predictions, or x splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from pertharness.cards import MetricOffer
from pertharness.errors import DataError
from pertharness.host.leaderboard.settings import model_label

STATES = ("done", "unanswered", "undefined", "skipped", "invalid", "failed", "timeout", "crashed")
"""States of an expected value, the worst last; those from ``skipped`` on are states of its record."""

NOT_EXPECTED = -1


class Model(NamedTuple):
    """A model of the run, with its parameters."""

    plugin: str
    model: str
    params: str

    @property
    def label(self) -> str:
        """The name under which a recipe and a reader know it."""
        return model_label(self.model, self.params)


@dataclass(frozen=True)
class Cube:
    """The scores of all models for one metric; a row is a perturbation held out by one split, or a whole split.

    Attributes
    ----------
    values : np.ndarray
        Shape (n_models, n_training_seeds, n_rows); NaN where not scored.
    states : np.ndarray
        Same shape; position in `STATES`, or `NOT_EXPECTED`.
    perturbation : np.ndarray
        Name of the perturbation of each row, shape (n_rows,); empty where a row is a whole split, and where a split
        could not be made, so that nothing is known but the state.
    split : np.ndarray
        Number of the split (split and seed) of each row.
    test : np.ndarray
        Whether a row belongs to the test part.
    selected : np.ndarray
        Per model: whether it was selected on data that is scored here.
    unranked : bool
        Whether the values of two models are no match, by the metric's card.
    whole_splits : bool
        Whether a row is a split, scored as a whole: a metric of the level ``task``.
    answered : np.ndarray
        Of whole splits: which of the predictions behind each row a model gave, shape (n_models, n_predictions); empty
        if no metric of single predictions tells.
    behind : np.ndarray
        The row of each of these predictions.
    """

    dataset: str
    task: str
    metric: str
    variant: str
    direction: str
    models: tuple[Model, ...]
    values: np.ndarray
    states: np.ndarray
    perturbation: np.ndarray
    split: np.ndarray
    test: np.ndarray
    selected: np.ndarray
    unranked: bool = False
    whole_splits: bool = False
    answered: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=bool))
    behind: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.intp))

    def alike(self, named: np.ndarray) -> np.ndarray:
        """Tell, per model, whether in each split it answered just what all models of the common set answered.

        A value of a whole split is over what a model answered there: values over other predictions are no match.
        ``named`` says which models make up the common set; of none: it is all that the splits hold out.
        """
        if not self.answered.size:
            return np.ones(len(self.models), dtype=bool)
        wanted = self.answered[named & self.answered.any(axis=1)].all(axis=0)
        scored = np.isfinite(self.answers())[:, self.behind]
        same: np.ndarray = ((self.answered == wanted) | ~scored).all(axis=1)
        return same

    def answers(self) -> np.ndarray:
        """Give one value per model and row, the mean over the training seeds that have one; else NaN."""
        return mean_of_finite(self.values, axis=1)


def mean_of_finite(values: np.ndarray, axis: int) -> np.ndarray:
    """Give the mean of what is not NaN along an axis; NaN, without a warning, where nothing is."""
    scored = np.isfinite(values)
    n = scored.sum(axis=axis)
    total = np.where(scored, values, 0.0).sum(axis=axis)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def build_cubes(scores: pd.DataFrame, metrics: Mapping[str, MetricOffer]) -> Iterator[Cube]:
    """Yield a cube per dataset, task, metric and variant, in this order; every model of the run is in each.

    Raises
    ------
    DataError
        If a metric is on no card or a state is unknown.
    """
    _check(scores, metrics)
    keys = scores[["plugin", "model", "params"]].drop_duplicates()
    models = tuple(sorted(Model(*key) for key in keys.itertuples(index=False)))
    for level in ("perturbation", "task"):
        ranked = [name for name, offer in metrics.items() if offer.level == level]
        kept = scores["metric"].isin(ranked) & _empty(scores["gene"]) & _empty(scores["coordinate"])
        for cube in _cubes_of(scores[kept], metrics, models):
            yield _with_answered(cube, scores, metrics) if cube.whole_splits else cube


def _with_answered(cube: Cube, scores: pd.DataFrame, metrics: Mapping[str, MetricOffer]) -> Cube:
    """Add which predictions each model gave, as the metrics of single predictions know it."""
    single = [name for name, offer in metrics.items() if offer.level == "perturbation"]
    here = (scores["dataset"] == cube.dataset) & (scores["task"] == cube.task) & (scores["perturbation"] != "")
    table = scores[here & scores["metric"].isin(single)]
    table = table[["split", "seed", "perturbation", *Model._fields, "state"]].drop_duplicates()
    if table.empty:
        return cube
    rows = pd.MultiIndex.from_frame(table[["split", "seed"]].drop_duplicates().sort_values(["split", "seed"]))
    if len(rows) != len(cube.split):  # some split has no such metric
        return cube
    code, places = pd.factorize(pd.MultiIndex.from_frame(table[["split", "seed", "perturbation"]]))
    given = np.zeros((len(cube.models), len(places)), dtype=bool)
    model = pd.MultiIndex.from_tuples(cube.models).get_indexer(pd.MultiIndex.from_frame(table[list(Model._fields)]))
    was_given = table["state"].isin(["done", "undefined"]).to_numpy()
    given[model[was_given], code[was_given]] = True
    behind = rows.get_indexer(places.droplevel(2))
    return replace(cube, answered=given, behind=behind)


def _cubes_of(entries: pd.DataFrame, metrics: Mapping[str, MetricOffer], models: tuple[Model, ...]) -> Iterator[Cube]:
    """Yield the cubes of metrics of one level."""
    names = pd.MultiIndex.from_frame(entries[list(Model._fields)])
    entries = entries.assign(
        model_code=pd.MultiIndex.from_tuples(models).get_indexer(names),
        state_code=entries["state"].map({state: code for code, state in enumerate(STATES)}),
    )
    for (dataset, task), part in entries.groupby(["dataset", "task"], sort=True):
        rows = part[["split", "seed", "perturbation"]].drop_duplicates().sort_values(["split", "seed", "perturbation"])
        part = part.assign(row=_positions(part, rows), training=pd.factorize(part["training_seed"], sort=True)[0])
        for (metric, variant), group in part.groupby(["metric", "variant"], sort=True):
            yield _cube((dataset, task, metric, variant), metrics[metric], models, rows, part, group)


def _check(scores: pd.DataFrame, metrics: Mapping[str, MetricOffer]) -> None:
    """Refuse metrics and states that no card and no contract knows."""
    for column, known in (("metric", tuple(metrics)), ("state", STATES)):
        unknown = sorted(set(scores[column].unique()) - set(known))
        if unknown:
            raise DataError(f"scores: unknown {column} {unknown[0]!r}; expected one of {', '.join(map(repr, known))}")


def _empty(column: pd.Series) -> pd.Series:
    """Tell which cells hold nothing."""
    return column.isna() | (column == "")


def _positions(part: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
    """Give the position in `rows` of each entry."""
    wanted = pd.MultiIndex.from_frame(part[list(rows.columns)])
    return np.asarray(pd.MultiIndex.from_frame(rows).get_indexer(wanted))


def _cube(
    name: tuple[str, str, str, str],
    offer: MetricOffer,
    models: tuple[Model, ...],
    rows: pd.DataFrame,
    part: pd.DataFrame,
    group: pd.DataFrame,
) -> Cube:
    """Place the entries of one metric; `part` holds all metrics of the task, `rows` its held-out predictions."""
    shape = (len(models), int(part["training"].max()) + 1, len(rows))
    place = tuple(group[axis].to_numpy() for axis in ("model_code", "training", "row"))
    values = np.full(shape, np.nan)
    values[place] = group["value"].to_numpy(dtype=np.float64)
    states = np.full(shape, NOT_EXPECTED, dtype=np.int8)
    states[place] = group["state_code"].to_numpy()
    states[(states == 0) & ~np.isfinite(values)] = STATES.index("undefined")
    test = np.ones(len(rows), dtype=bool)
    test[part["row"].to_numpy()] = (part["part"] == "test").to_numpy()
    selected = np.zeros(len(models), dtype=bool)
    selected[part.loc[part["selected_on_scored"].astype(bool), "model_code"].unique()] = True
    split = rows.groupby(["split", "seed"], sort=True).ngroup().to_numpy()
    return Cube(
        *name,
        direction=offer.direction,
        models=models,
        values=np.where(np.isfinite(values), values, np.nan),
        states=states,
        perturbation=rows["perturbation"].to_numpy(dtype=object),
        split=split,
        test=test,
        selected=selected,
        unranked=name[-1] in offer.unranked,
        whole_splits=offer.level == "task",
    )
