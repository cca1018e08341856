"""The scores of one dataset, task and metric as an array: models x training seeds x predictions, or x splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from pertharness.contract.cards import MetricOffer
from pertharness.contract.errors import DataError
from pertharness.host.leaderboard.coded import Coded, code, combine
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
        """Return one value per model and row, the mean over the training seeds that have one; else NaN."""
        return mean_of_finite(self.values, axis=1)


def mean_of_finite(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean of what is not NaN along an axis; NaN, without a warning, where nothing is."""
    scored = np.isfinite(values)
    n = scored.sum(axis=axis)
    total = np.where(scored, values, 0.0).sum(axis=axis)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


class _Scores(NamedTuple):
    """Scores as integers."""

    dataset: Coded
    task: Coded
    split: Coded
    """Split and seed; as ``values`` only numbers."""
    perturbation: Coded
    metric: Coded
    variant: Coded
    training_seed: Coded
    model: np.ndarray
    """Position among the models."""
    state: np.ndarray
    """Position in `STATES`."""
    value: np.ndarray
    test: np.ndarray
    selected: np.ndarray

    def groups(self, rows: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
        """Yield dataset and task, in this order, with those of the rows that are of both."""
        key = combine((self.dataset.codes[rows], self.dataset.size), (self.task.codes[rows], self.task.size))
        for number in np.flatnonzero(np.bincount(key)):
            dataset, task = divmod(int(number), self.task.size)
            yield self.dataset.values[dataset], self.task.values[task], rows[key == number]

    def row_keys(self, rows: np.ndarray) -> np.ndarray:
        """Return a number for split, seed and perturbation of each row, which sorts as these do."""
        return combine(
            (self.split.codes[rows], self.split.size), (self.perturbation.codes[rows], self.perturbation.size)
        )


class _Held(NamedTuple):
    """What the cubes of a task have in common: as in a `Cube`."""

    perturbation: np.ndarray
    split: np.ndarray
    test: np.ndarray
    selected: np.ndarray


Answered = dict[tuple[str, str], tuple[np.ndarray, np.ndarray, int]]
"""(dataset, task) -> answered and behind, as in a `Cube`, and the number of splits."""


def build_cubes(scores: pd.DataFrame, metrics: Mapping[str, MetricOffer]) -> Iterator[Cube]:
    """Yield a cube per dataset, task, metric and variant, in this order; every model of the run is in each.

    Raises
    ------
    DataError
        If a metric is on no card or a state is unknown.
    """
    metric, state = code(scores["metric"]), code(scores["state"])
    for column, values, known in (("metric", metric.values, tuple(metrics)), ("state", state.values, STATES)):
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise DataError(f"scores: unknown {column} {unknown[0]!r}; expected one of {', '.join(map(repr, known))}")
    table, models = _read(scores, metric, state)
    levels = np.array([metrics[name].level for name in metric.values], dtype=object)
    bare = _empty(scores["gene"]) & _empty(scores["coordinate"])
    single = (levels == "perturbation")[metric.codes]
    yield from _cubes_of(table, np.flatnonzero(single & bare), metrics, models)
    whole = np.flatnonzero((levels == "task")[metric.codes] & bare)
    named = table.perturbation.codes != table.perturbation.find("")
    answered = _answered(table, np.flatnonzero(single & named), len(models)) if len(whole) else {}
    for cube in _cubes_of(table, whole, metrics, models):
        given, behind, n_splits = answered.get((cube.dataset, cube.task), (cube.answered, cube.behind, -1))
        # Otherwise some split has no metric of single predictions.
        yield replace(cube, answered=given, behind=behind) if n_splits == len(cube.split) else cube


def _read(scores: pd.DataFrame, metric: Coded, state: Coded) -> tuple[_Scores, tuple[Model, ...]]:
    """Return scores as integers, and the models, sorted."""
    of_model = [code(scores[name]) for name in Model._fields]
    key = combine(*((column.codes, column.size) for column in of_model))
    first = np.unique(key, return_index=True)[1]
    models = tuple(Model(*names) for names in zip(*(column.cells(first) for column in of_model), strict=True))
    split, seed = code(scores["split"]), code(scores["seed"])
    splits = combine((split.codes, split.size), (seed.codes, seed.size))
    part = code(scores["part"])
    table = _Scores(
        dataset=code(scores["dataset"]),
        task=code(scores["task"]),
        split=_ranked(splits),
        perturbation=code(scores["perturbation"]),
        metric=metric,
        variant=code(scores["variant"]),
        training_seed=code(scores["training_seed"]),
        model=_ranked(key).codes,
        state=np.array([STATES.index(name) for name in state.values], dtype=np.int8)[state.codes],
        value=scores["value"].to_numpy(dtype=np.float64),
        test=part.codes == part.find("test"),
        selected=scores["selected_on_scored"].to_numpy(dtype=bool),
    )
    return table, models


def _ranked(keys: np.ndarray) -> Coded:
    """Return numbers as positions among the sorted distinct ones, in as few bytes as these need."""
    codes, values = pd.factorize(keys, sort=True)
    return Coded(codes.astype(np.min_scalar_type(max(len(values) - 1, 0))), values)


def _empty(column: pd.Series) -> np.ndarray:
    """Return which cells hold nothing."""
    nothing = column.isna() if column.dtype.kind == "f" else column.isna() | (column == "")
    empty: np.ndarray = nothing.to_numpy()
    return empty


def _answered(table: _Scores, rows: np.ndarray, n_models: int) -> Answered:
    """Return which predictions each model gave, as the metrics of single predictions know it."""
    answered = {}
    given = (table.state == STATES.index("done")) | (table.state == STATES.index("undefined"))
    for dataset, task, here in table.groups(rows):
        places, keys = pd.factorize(table.row_keys(here), sort=True)
        was_given = np.zeros((n_models, len(keys)), dtype=bool)
        chosen = given[here]
        was_given[table.model[here][chosen], places[chosen]] = True
        splits, behind = np.unique(keys // table.perturbation.size, return_inverse=True)
        answered[dataset, task] = was_given, behind, len(splits)
    return answered


def _cubes_of(
    table: _Scores, rows: np.ndarray, metrics: Mapping[str, MetricOffer], models: tuple[Model, ...]
) -> Iterator[Cube]:
    """Yield the cubes of metrics of one level."""
    for dataset, task, here in table.groups(rows):
        place, keys = pd.factorize(table.row_keys(here), sort=True)
        training = pd.factorize(table.training_seed.codes[here], sort=True)[0]
        held = _held(table, here, place, keys, len(models))
        shape = (len(models), int(training.max(initial=0)) + 1, len(keys))
        which = combine((table.metric.codes[here], table.metric.size), (table.variant.codes[here], table.variant.size))
        for number in np.flatnonzero(np.bincount(which)):
            metric, variant = (int(position) for position in divmod(number, table.variant.size))
            mine = np.flatnonzero(which == number)
            at = table.model[here[mine]], training[mine], place[mine]
            values, states = np.full(shape, np.nan), np.full(shape, NOT_EXPECTED, dtype=np.int8)
            values[at], states[at] = table.value[here[mine]], table.state[here[mine]]
            states[(states == 0) & ~np.isfinite(values)] = STATES.index("undefined")
            names = table.metric.values[metric], table.variant.values[variant]
            offer = metrics[names[0]]
            yield Cube(
                dataset, task, *names, offer.direction, models, np.where(np.isfinite(values), values, np.nan),
                states, **held._asdict(), unranked=names[1] in offer.unranked, whole_splits=offer.level == "task",
            )  # fmt: skip


def _held(table: _Scores, here: np.ndarray, place: np.ndarray, keys: np.ndarray, n_models: int) -> _Held:
    """Return what is so of all cubes of a task."""
    split, perturbation = np.divmod(keys, table.perturbation.size)
    test = np.ones(len(keys), dtype=bool)
    test[place] = table.test[here]
    selected = np.zeros(n_models, dtype=bool)
    selected[table.model[here][table.selected[here]]] = True
    names = table.perturbation.values[perturbation].astype(object)
    return _Held(names, np.unique(split, return_inverse=True)[1], test, selected)
