"""Tells: what makes a reader look twice at a model. Shown as badges with an explanation, and never a reason to drop it.

Beside them what else is known of a model's predictions: how many of the values it gave, and what its processes were
kept from.
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
from pertharness.host.leaderboard.prediction_facts import PredictionFacts
from pertharness.host.leaderboard.settings import model_label
from pertharness.host.leaderboard.tables import Note, shortened, table_name, title_of

Key = tuple[str, str, str, str, str]
"""dataset, task, plugin, model, params."""
_KEY = ["dataset", "task", "plugin", "model", "params"]
COLUMNS = ("tells", "coverage", "isolation")
"""Columns that follow those of the leaderboard."""


_TOO_GOOD_MEANS = (
    "as good as a repeated measurement with half of the cells, or better; "
    "a second look is due at whether the model can have seen what it predicts"
)


@dataclass(frozen=True)
class ModelFacts:
    """What is known of the predictions of one model on one dataset and task, all its splits and seeds together.

    Attributes
    ----------
    constant, copies_training
        What its card says.
    n, n_alike
        Predictions, and those with equal answers to all queries.
    n_answers, n_copies, example
        Answers, and those that equal a training row; the first: query and training perturbation.
    n_values, n_predicted
        Answers times genes, and how many of these values the model gave.
    isolations
        Of the processes behind its predictions, each kind once.
    problem
        Why a prediction could not be looked at.
    """

    constant: bool = False
    copies_training: bool = False
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
        """Return these facts with those of one more prediction; a text says why it could not be looked at."""
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
        """The badges that hold for the model whatever the metric."""
        alike = [CONSTANT if self.constant else ALIKE] if self.n_alike else []
        return alike + ([COPIES_BY_DESIGN if self.copies_training else COPIES] if self.n_copies else [])

    @property
    def coverage(self) -> float:
        """Share of the values of its answers that the model gave; NaN without an answer."""
        return self.n_predicted / self.n_values if self.n_values else math.nan

    @property
    def isolation(self) -> str:
        """The weakest isolation of its processes, as tables show it; empty if there were none."""
        return min(self.isolations, key=_strength).text() if self.isolations else ""


def _strength(isolation: Isolation) -> tuple[int, str]:
    """Return what sorts isolations, the weakest first; of equal ones by name."""
    return (0 if isolation.mechanism == "none" else 1 if isolation.partial else 2), isolation.text()


def add_tells(leaderboard: pd.DataFrame, facts: Mapping[Key, ModelFacts]) -> pd.DataFrame:
    """Return the leaderboard with the columns of `COLUMNS`, all its other columns as they are.

    Parameters
    ----------
    leaderboard
        From `calibrate.add_positions`; its column ``at_duplicate`` is taken up and goes.
    facts
        What is known of each model; of what is not in it, such as the technical duplicate, there are no tells.
    """
    frame = leaderboard.drop(columns="at_duplicate", errors="ignore")
    too_good = leaderboard["at_duplicate"].eq(True) if "at_duplicate" in leaderboard else [False] * len(frame)
    of_row = [facts.get(key, ModelFacts()) for key in frame[_KEY].itertuples(index=False, name=None)]
    badges = [[TOO_GOOD] * good + known.badges for good, known in zip(too_good, of_row, strict=True)]
    return frame.assign(
        tells=[join_badges(names) for names in badges],
        coverage=[float(f"{known.coverage:.9g}") for known in of_row],
        isolation=[known.isolation for known in of_row],
    )


def make_notes(
    leaderboard: pd.DataFrame, facts: Mapping[Key, ModelFacts], metrics: Mapping[str, MetricOffer]
) -> list[Note]:
    """Return the notes beside the tables: of tells, and of isolation.

    Parameters
    ----------
    leaderboard
        From `add_tells`.
    facts
        What is known of each model.
    metrics
        Metric -> its offer.
    """
    return [*tell_notes(leaderboard, facts, metrics), *isolation_notes(facts)]


def tell_notes(
    leaderboard: pd.DataFrame, facts: Mapping[Key, ModelFacts], metrics: Mapping[str, MetricOffer]
) -> list[Note]:
    """Return, per dataset and task, an explanation of each badge that asks for a second look."""
    notes = []
    for (dataset, task, _plugin, model, params), known in sorted(facts.items()):
        label = model_label(model, params)
        notes += [Note(title_of(dataset, task), shortened(f"{label}: {text}")) for text in _explained(known)]
    whole = leaderboard[leaderboard["stratum"] == "all"]
    good = whole[np.array([TOO_GOOD in split_badges(cell) for cell in whole["tells"]], dtype=bool)]
    for (dataset, task, _plugin, model, params), rows in good.groupby(_KEY, sort=True):
        pairs = rows[["metric", "variant"]].itertuples(index=False, name=None)
        scores = [table_name(metrics[metric], variant) for metric, variant in pairs]
        text = f"{model_label(model, params)}: {TOO_GOOD} ({', '.join(scores)}): {_TOO_GOOD_MEANS}"
        notes.append(Note(title_of(dataset, task), shortened(text)))
    return notes


def _explained(known: ModelFacts) -> Iterator[str]:
    """Yield why a model has a badge that its card does not explain, and what could not be looked at."""
    if ALIKE in known.badges:
        where = f"in {known.n_alike} of {known.n} predictions"
        yield f"{ALIKE}: it gave all queries the same answer {where}, and its card does not say that it is constant"
    if COPIES in known.badges and known.example:
        query, origin = known.example
        yield (
            f"{COPIES}: {known.n_copies} of {known.n_answers} answers equal the mean of a training perturbation or of "
            f"the controls (first: that to {query} is the mean of {origin}), and its card does not say that it copies"
        )
    if known.problem:
        yield f"not looked at for tells: {known.problem}"


def isolation_notes(facts: Mapping[Key, ModelFacts]) -> list[Note]:
    """Return what the processes behind the predictions were kept from, for below all tables; nothing if none is known.

    One line names the isolation of most, and the models that were made with less; further ones the folders that
    lie open where it was partial.
    """
    known = {key: of_model for key, of_model in sorted(facts.items()) if of_model.isolations}
    if not known:
        return []
    weakest = {key: min(of_model.isolations, key=_strength) for key, of_model in known.items()}
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
    kinds = [isolation for of_model in known.values() for isolation in of_model.isolations]
    if folders := sorted({folder for isolation in kinds for folder in isolation.partial}):
        lines.append(f"Partial: these folders lie beneath what a job has to be given: {', '.join(folders)}")
    return [Note("", shortened(line, "status.json of the records: pertharness show KEY")) for line in lines]
