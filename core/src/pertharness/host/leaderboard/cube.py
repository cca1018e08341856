"""The scores of one dataset, task and metric as an array: models x training seeds x predictions, or x splits."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from pertharness.contract.cards import MetricOffer
from pertharness.contract.errors import DataError
from pertharness.contract.labels import SEPARATOR
from pertharness.host.leaderboard.coded import Coded, code, combine
from pertharness.host.leaderboard.comparison import model_label

STATES = ("done", "unanswered", "undefined", "skipped", "invalid", "failed", "timeout", "crashed")
"""States of an expected value, from best to worst; from ``skipped`` on, they are states of its record."""

NOT_EXPECTED = -1


class Model(NamedTuple):
    """A model of the run, with its parameters."""

    plugin: str
    model: str
    params: str

    @property
    def label(self) -> str:
        """The name of the model in recipes and tables."""
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
        Name of the perturbation of each row, shape (n_rows,). It is empty where a row is a whole split, and where a
        split could not be made, so that only the state is known.
    split : np.ndarray
        Number of the split (split and seed) of each row.
    test : np.ndarray
        Whether a row belongs to the test part.
    selected : np.ndarray
        Per model: whether it was selected on data that is scored here.
    unranked : bool
        Whether the metric's card declares that values of two models cannot be compared.
    whole_splits : bool
        Whether a row is a split, scored as a whole: a metric of the level ``task``.
    answered : np.ndarray
        For whole splits: which of the predictions behind each row a model gave, shape (n_models, n_predictions). It is
        empty if no metric scores single predictions.
    behind : np.ndarray
        The row of each of these predictions.
    asked : np.ndarray
        The perturbation of each of these predictions.
    covers : str
        Which of these predictions a value covers, from the metric's card.
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
    asked: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=object))
    covers: str = "answers"

    def alike(self, named: np.ndarray, measured: Collection[str] = ()) -> np.ndarray:
        """Return, per model, whether it answered in each split exactly what all models of the common set answered.

        The value of a whole split covers what a model answered there, so values over different predictions cannot be
        compared. A metric that covers doubles alone is not changed by other answers.

        Parameters
        ----------
        named
            Which models form the common set; if none does, all held-out predictions form it.
        measured
            Perturbations of the dataset; empty if they are unknown.
        """
        if not self.answered.size:
            return np.ones(len(self.models), dtype=bool)
        covered = self._covered(measured)
        common_answers = self.answered[named & self.answered.any(axis=1)].all(axis=0)
        scored = np.isfinite(self.answers())[:, self.behind]
        same: np.ndarray = ((self.answered == common_answers) | ~scored | ~covered).all(axis=1)
        return same

    def _covered(self, measured: Collection[str]) -> np.ndarray:
        """Return which of the predictions behind the rows a value covers, shape (n_predictions,)."""
        if self.covers != "doubles" or not len(measured):
            return np.ones(len(self.asked), dtype=bool)
        targets = [str(label).split(SEPARATOR) for label in self.asked]
        return np.array([len(each) == 2 and all(target in measured for target in each) for each in targets], dtype=bool)

    def answers(self) -> np.ndarray:
        """Return one value per model and row: the mean over the training seeds with a value, else NaN."""
        return mean_of_finite(self.values, axis=1)


def mean_of_finite(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean of finite values along an axis; NaN, without a warning, where all are NaN."""
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
        """Yield each dataset and task, in this order, with their rows."""
        key = combine((self.dataset.codes[rows], self.dataset.size), (self.task.codes[rows], self.task.size))
        for number in np.flatnonzero(np.bincount(key)):
            dataset, task = divmod(int(number), self.task.size)
            yield self.dataset.values[dataset], self.task.values[task], rows[key == number]

    def row_keys(self, rows: np.ndarray) -> np.ndarray:
        """Return one number for split, seed and perturbation of each row, which sorts as these do."""
        return combine(
            (self.split.codes[rows], self.split.size), (self.perturbation.codes[rows], self.perturbation.size)
        )


class _RowFacts(NamedTuple):
    """The fields of a `Cube` that all cubes of a task share."""

    perturbation: np.ndarray
    split: np.ndarray
    test: np.ndarray
    selected: np.ndarray


Answered = dict[tuple[str, str], tuple[np.ndarray, np.ndarray, np.ndarray, int]]
"""(dataset, task) -> `Cube.answered`, `Cube.behind`, `Cube.asked`, and the number of splits."""


def build_cubes(scores: pd.DataFrame, metrics: Mapping[str, MetricOffer]) -> Iterator[Cube]:
    """Yield a cube per dataset, task, metric and variant, in this order; every model of the run is in each.

    Raises
    ------
    DataError
        If no card declares a metric, or if a state is unknown.
    """
    metric, state = code(scores["metric"]), code(scores["state"])
    for column, values, allowed in (("metric", metric.values, tuple(metrics)), ("state", state.values, STATES)):
        unknown = sorted(set(values) - set(allowed))
        if unknown:
            raise DataError(f"scores: unknown {column} {unknown[0]!r}; expected one of {', '.join(map(repr, allowed))}")
    table, models = _read(scores, metric, state)
    levels = np.array([metrics[name].level for name in metric.values], dtype=object)
    bare = _empty(scores["gene"]) & _empty(scores["coordinate"])
    single = (levels == "perturbation")[metric.codes]
    yield from _cubes_of(table, np.flatnonzero(single & bare), metrics, models)
    whole = np.flatnonzero((levels == "task")[metric.codes] & bare)
    named = table.perturbation.codes != table.perturbation.find("")
    answered = _answered(table, np.flatnonzero(single & named), len(models)) if len(whole) else {}
    for cube in _cubes_of(table, whole, metrics, models):
        nothing = cube.answered, cube.behind, cube.asked, -1
        was_answered, behind, asked, n_splits = answered.get((cube.dataset, cube.task), nothing)
        # If the numbers differ, some split has no metric of single predictions.
        is_known = n_splits == len(cube.split)
        yield replace(cube, answered=was_answered, behind=behind, asked=asked) if is_known else cube


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
    """Return numbers as positions among the sorted distinct numbers, in the smallest dtype that fits."""
    codes, values = pd.factorize(keys, sort=True)
    return Coded(codes.astype(np.min_scalar_type(max(len(values) - 1, 0))), values)


def _empty(column: pd.Series) -> np.ndarray:
    """Return which cells are empty."""
    nothing = column.isna() if column.dtype.kind == "f" else column.isna() | (column == "")
    empty: np.ndarray = nothing.to_numpy()
    return empty


def _answered(table: _Scores, rows: np.ndarray, n_models: int) -> Answered:
    """Return which predictions each model gave, from the metrics of single predictions."""
    answered = {}
    is_answer = (table.state == STATES.index("done")) | (table.state == STATES.index("undefined"))
    for dataset, task, here in table.groups(rows):
        positions, keys = pd.factorize(table.row_keys(here), sort=True)
        mask = np.zeros((n_models, len(keys)), dtype=bool)
        chosen = is_answer[here]
        mask[table.model[here][chosen], positions[chosen]] = True
        splits, behind = np.unique(keys // table.perturbation.size, return_inverse=True)
        asked = table.perturbation.values[keys % table.perturbation.size].astype(object)
        answered[dataset, task] = mask, behind, asked, len(splits)
    return answered


def _cubes_of(
    table: _Scores, rows: np.ndarray, metrics: Mapping[str, MetricOffer], models: tuple[Model, ...]
) -> Iterator[Cube]:
    """Yield the cubes of metrics of one level."""
    for dataset, task, here in table.groups(rows):
        row_index, keys = pd.factorize(table.row_keys(here), sort=True)
        training = pd.factorize(table.training_seed.codes[here], sort=True)[0]
        row_facts = _row_facts(table, here, row_index, keys, len(models))
        shape = (len(models), int(training.max(initial=0)) + 1, len(keys))
        which = combine((table.metric.codes[here], table.metric.size), (table.variant.codes[here], table.variant.size))
        for number in np.flatnonzero(np.bincount(which)):
            metric, variant = (int(position) for position in divmod(number, table.variant.size))
            of_metric = np.flatnonzero(which == number)
            at = table.model[here[of_metric]], training[of_metric], row_index[of_metric]
            values, states = np.full(shape, np.nan), np.full(shape, NOT_EXPECTED, dtype=np.int8)
            values[at], states[at] = table.value[here[of_metric]], table.state[here[of_metric]]
            states[(states == 0) & ~np.isfinite(values)] = STATES.index("undefined")
            names = table.metric.values[metric], table.variant.values[variant]
            offer = metrics[names[0]]
            yield Cube(
                dataset, task, *names, offer.direction, models, np.where(np.isfinite(values), values, np.nan),
                states, **row_facts._asdict(), unranked=names[1] in offer.unranked, whole_splits=offer.level == "task",
                covers=offer.covers,
            )  # fmt: skip


def _row_facts(table: _Scores, here: np.ndarray, row_index: np.ndarray, keys: np.ndarray, n_models: int) -> _RowFacts:
    """Return the facts on rows and models that all cubes of a task share."""
    split, perturbation = np.divmod(keys, table.perturbation.size)
    test = np.ones(len(keys), dtype=bool)
    test[row_index] = table.test[here]
    selected = np.zeros(n_models, dtype=bool)
    selected[table.model[here][table.selected[here]]] = True
    names = table.perturbation.values[perturbation].astype(object)
    return _RowFacts(names, np.unique(split, return_inverse=True)[1], test, selected)
