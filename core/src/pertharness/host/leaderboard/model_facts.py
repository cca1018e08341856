"""Facts of a model's predictions over all splits and seeds, and the badges and notes that follow from them.

A badge calls for a second look at a model; no model is dropped because of one. Other facts are the coverage of its
predictions and the isolation of its processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pertharness.contract.cards import MetricOffer
from pertharness.contract.jobs import Isolation
from pertharness.host.leaderboard.badges import (
    ALIKE,
    CONSTANT,
    COPIES,
    COPIES_BY_DESIGN,
    TOO_GOOD,
    join_badges,
    split_badges,
)
from pertharness.host.leaderboard.comparison import model_label
from pertharness.host.leaderboard.prediction_facts import PredictionFacts
from pertharness.host.leaderboard.tables import Note, shortened, table_name, title_of

Key = tuple[str, str, str, str, str]
"""dataset, task, plugin, model, params."""
_KEY = ["dataset", "task", "plugin", "model", "params"]
COLUMNS = ("tells", "coverage", "isolation", "oracle")
"""Columns that follow those of the leaderboard."""


_TOO_GOOD_MEANS = (
    "as good as a repeated measurement with half of the cells, or better; "
    "check whether the model can have seen what it predicts"
)


@dataclass(frozen=True)
class ModelFacts:
    """Facts of the predictions of one model on one dataset and task, over all splits and seeds.

    Attributes
    ----------
    constant, copies_training, oracle
        What its card declares; `oracle`: it is given observed values of held-out cells.
    n, n_alike
        Number of predictions, and of those with the same answer to all queries.
    n_answers, n_copies, example
        Number of answers, and of those that equal a training row; the first copy: query and training perturbation.
    n_values, n_predicted
        Answers times genes, and the number of these values that the model gave.
    isolations
        Isolation of the processes behind its predictions, each kind once.
    problem
        The reason why a prediction could not be examined.
    """

    constant: bool = False
    copies_training: bool = False
    oracle: bool = False
    n: int = 0
    n_alike: int = 0
    n_answers: int = 0
    n_copies: int = 0
    example: tuple[str, str] | None = None
    n_values: int = 0
    n_predicted: int = 0
    isolations: tuple[Isolation, ...] = ()
    problem: str = ""

    def with_prediction(self, facts: PredictionFacts | str | None, isolations: Iterable[Isolation]) -> ModelFacts:
        """Return these facts with those of one more prediction, or with the reason why it could not be examined."""
        kinds = [*self.isolations, *(kind for kind in isolations if kind not in self.isolations)]
        joined = replace(self, isolations=tuple(kinds))
        if facts is None or isinstance(facts, str):
            return replace(joined, problem=self.problem or facts or "")
        return replace(
            joined, n=self.n + 1, n_alike=self.n_alike + facts.alike, n_answers=self.n_answers + facts.n_answers,
            n_copies=self.n_copies + facts.n_copies, example=self.example or facts.example,
            n_values=self.n_values + facts.n_values, n_predicted=self.n_predicted + facts.n_predicted,
        )  # fmt: skip

    @property
    def badges(self) -> list[str]:
        """The badges that do not depend on the metric."""
        alike = [CONSTANT if self.constant else ALIKE] if self.n_alike else []
        return alike + ([COPIES_BY_DESIGN if self.copies_training else COPIES] if self.n_copies else [])

    @property
    def coverage(self) -> float:
        """Share of the values in its answers that the model gave; NaN without answers."""
        return self.n_predicted / self.n_values if self.n_values else math.nan

    @property
    def isolation(self) -> str:
        """The weakest isolation of its processes, as tables show it; empty without processes."""
        return min(self.isolations, key=_strength).text() if self.isolations else ""


def _strength(isolation: Isolation) -> tuple[int, str]:
    """Return a sort key for isolations: the weakest first, then by name."""
    return (0 if isolation.mechanism == "none" else 1 if isolation.partial else 2), isolation.text()


def add_model_facts(leaderboard: pd.DataFrame, facts: Mapping[Key, ModelFacts]) -> pd.DataFrame:
    """Return the leaderboard with the columns of `COLUMNS` added.

    Parameters
    ----------
    leaderboard
        From `calibrate.add_positions`; its column ``at_duplicate`` is used and removed.
    facts
        Facts of each model. A row without facts, such as the technical duplicate, gets no badges from them.
    """
    frame = leaderboard.drop(columns="at_duplicate", errors="ignore")
    too_good = leaderboard["at_duplicate"].eq(True) if "at_duplicate" in leaderboard else [False] * len(frame)
    row_facts = [facts.get(key, ModelFacts()) for key in frame[_KEY].itertuples(index=False, name=None)]
    badges = [[TOO_GOOD] * good + model.badges for good, model in zip(too_good, row_facts, strict=True)]
    return frame.assign(
        tells=[join_badges(names) for names in badges],
        coverage=[float(f"{model.coverage:.9g}") for model in row_facts],
        isolation=[model.isolation for model in row_facts],
        oracle=["yes" if model.oracle else "" for model in row_facts],
    )


def make_notes(
    leaderboard: pd.DataFrame, facts: Mapping[Key, ModelFacts], metrics: Mapping[str, MetricOffer]
) -> list[Note]:
    """Return the notes on badges and on isolation.

    Parameters
    ----------
    leaderboard
        From `add_model_facts`.
    facts
        Facts of each model.
    metrics
        Metric -> its offer.
    """
    return [*badge_notes(leaderboard, facts, metrics), *isolation_notes(facts)]


def badge_notes(
    leaderboard: pd.DataFrame, facts: Mapping[Key, ModelFacts], metrics: Mapping[str, MetricOffer]
) -> list[Note]:
    """Return an explanation of each badge that calls for a second look, per dataset and task."""
    notes = []
    for (dataset, task, _plugin, model, params), model_facts in sorted(facts.items()):
        label = model_label(model, params)
        notes += [Note(title_of(dataset, task), shortened(f"{label}: {text}")) for text in _explained(model_facts)]
    whole = leaderboard[leaderboard["stratum"] == "all"]
    good = whole[np.array([TOO_GOOD in split_badges(cell) for cell in whole["tells"]], dtype=bool)]
    for (dataset, task, _plugin, model, params), rows in good.groupby(_KEY, sort=True):
        pairs = rows[["metric", "variant"]].itertuples(index=False, name=None)
        scores = [table_name(metrics[metric], variant) for metric, variant in pairs]
        text = f"{model_label(model, params)}: {TOO_GOOD} ({', '.join(scores)}): {_TOO_GOOD_MEANS}"
        notes.append(Note(title_of(dataset, task), shortened(text)))
    return notes


def _explained(facts: ModelFacts) -> Iterator[str]:
    """Yield the reason for each badge that the model's card does not explain, and for a failed examination."""
    if ALIKE in facts.badges:
        where = f"in {facts.n_alike} of {facts.n} predictions"
        yield f"{ALIKE}: it gave the same answer to all queries {where}, but its card does not declare it constant"
    if COPIES in facts.badges and facts.example:
        query, origin = facts.example
        yield (
            f"{COPIES}: {facts.n_copies} of {facts.n_answers} answers equal the mean of a training perturbation or of "
            f"the controls (first: that to {query} is the mean of {origin}), but its card does not declare this"
        )
    if facts.problem:
        yield f"not examined: {facts.problem}"


def isolation_notes(facts: Mapping[Key, ModelFacts]) -> list[Note]:
    """Return the notes on the isolation of the processes behind the predictions; none if it is unknown.

    One note names the best isolation, and the models that ran with less. Another names the folders that stayed visible
    where it was partial.
    """
    isolated = {key: of_model for key, of_model in sorted(facts.items()) if of_model.isolations}
    if not isolated:
        return []
    weakest = {key: min(of_model.isolations, key=_strength) for key, of_model in isolated.items()}
    best = max(_strength(isolation)[0] for isolation in weakest.values())
    full: set[str] = set()
    less: dict[str, list[str]] = {}
    for (dataset, task, _plugin, model, params), isolation in weakest.items():
        if _strength(isolation)[0] == best:
            full.add(isolation.text())
        else:
            less.setdefault(isolation.text(), []).append(f"{model_label(model, params)} on {dataset} {task}")
    exceptions = "".join(f"; {text}: {', '.join(models)}" for text, models in sorted(less.items()))
    lines = [f"Isolation of the predictions: {' or '.join(sorted(full))}{exceptions}"]
    kinds = [isolation for of_model in isolated.values() for isolation in of_model.isolations]
    if folders := sorted({folder for isolation in kinds for folder in isolation.partial}):
        lines.append(f"Partial isolation: jobs could also see these folders: {', '.join(folders)}")
    return [Note("", shortened(line, "status.json of the records: pertharness show KEY")) for line in lines]
