"""All expected scores of a run in long form, each with its state and the record that it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pertharness.contract.cards import ScorerOffer
from pertharness.contract.scores import COMMON_GENES
from pertharness.host.execution.nodes import Outcome
from pertharness.host.join.reasons import attempt_state, is_done
from pertharness.host.join.records import record_of
from pertharness.host.join.score_tables import (
    RecordScores,
    Vocabulary,
    Words,
    no_scores,
    place_numbers,
    read_score_table,
)
from pertharness.host.leaderboard.cube import STATES
from pertharness.host.plan import Attempt, Plan, is_for
from pertharness.host.plan.split_jobs import read_parts, split_label
from pertharness.host.store.records import Store

_WORDS = ("perturbation", "gene", "metric", "variant", "part")
_WHOSE = (
    "dataset", "split", "seed", "plugin", "model", "params", "task", "training_seed", "selected_on_scored", "record",
)  # fmt: skip


class _Job(NamedTuple):
    """A score job, or what would have been one."""

    attempt: Attempt
    scorer: str
    common: bool
    """Of the variant ``common-genes``, and no other."""
    key: str
    state: str
    path: Path | None
    record: str


class _Grid(NamedTuple):
    """What a scorer owes for a prediction: a value per place, metric and variant, each of shape (n_owed,)."""

    perturbation: np.ndarray
    metric: np.ndarray
    variant: np.ndarray
    part: np.ndarray
    places: np.ndarray
    order: np.ndarray
    """Sorts `places`."""


class _Rows(NamedTuple):
    """The joined rows of a job."""

    perturbation: np.ndarray
    gene: np.ndarray
    metric: np.ndarray
    variant: np.ndarray
    part: np.ndarray
    coordinate: np.ndarray
    value: np.ndarray
    state: np.ndarray


def join_scores(plan: Plan, outcomes: Mapping[str, Outcome], store: Store) -> pd.DataFrame:
    """Return all expected scores in long form, one row each, NaN with a state where there is no value.

    A metric of perturbations owes one value for each that is held out, one of the task one for the split. Of curves,
    genes and the like nobody can say what is missing: they have the rows that the scorer gave. A task whose split could
    not be made expects nothing that can be listed: each of its models has one row per metric without a perturbation, so
    that it is still seen. Columns of words have the dtype ``category``, in which millions of rows take little memory.
    """
    jobs = [job for attempt in plan.attempts for job in _jobs_of(plan, attempt, outcomes, store)]
    if not jobs:
        return pd.DataFrame()
    words, grids, parts = Vocabulary(), dict[tuple[Any, ...], _Grid](), dict[str, dict[str, list[str]]]()
    for name in _WORDS[1:]:
        getattr(words, name)[""]  # present in every run, and the same number in all of them
    joined = []
    for job in jobs:
        held = _held(job.attempt, outcomes, store, parts)
        place = (job.attempt.split, job.attempt.task.score_on, job.scorer, job.common)
        if place not in grids:
            grids[place] = _make_grid(plan.scorers[job.scorer], held, job, words)
        status = outcomes[job.attempt.prediction].status if is_done(outcomes, job.attempt.prediction) else None
        given = read_score_table(job.path, words, common=job.common) if job.path else no_scores()
        joined.append(_join(grids[place], given, job.state, list(status.unanswered) if status else [], words))
    number = np.repeat(np.arange(len(jobs), dtype=np.int32), [len(rows.value) for rows in joined])
    columns = {name: np.concatenate([getattr(rows, name) for rows in joined]) for name in _Rows._fields}
    del joined
    frame: dict[str, Any] = {name: _categorical(columns.pop(name), getattr(words, name)) for name in _WORDS}
    frame |= {"state": pd.Categorical.from_codes(columns.pop("state"), categories=list(STATES)), **columns}
    return pd.DataFrame({**frame, **_whose(jobs, number)}, copy=False)


def _jobs_of(plan: Plan, attempt: Attempt, outcomes: Mapping[str, Outcome], store: Store) -> Iterator[_Job]:
    """Yield the score jobs of a prediction; the variant ``common-genes`` has one of its own."""
    state, _ = attempt_state(attempt, outcomes)
    for name, offer in plan.scorers.items():
        # Of a model that predicts nothing all that it would have been asked; else what it was.
        asked = name in attempt.scores or (not attempt.prediction and is_for(offer, attempt.task))
        keys = {False: attempt.scores.get(name, "")} if asked else {}
        if name in attempt.common:
            keys[True] = attempt.common[name]
        for common, key in keys.items():
            mine = state if state != "done" else outcomes[key].state
            path = store.record("scores", key) / "scores.csv" if mine == "done" else None
            yield _Job(attempt, name, common, key, mine, path, record_of(outcomes, key, attempt.prediction))


def _held(
    attempt: Attempt, outcomes: Mapping[str, Outcome], store: Store, parts: dict[str, dict[str, list[str]]]
) -> list[tuple[str, str]]:
    """Return the perturbations that a split holds out, each with its part; of a split that is not there an empty one.

    `parts` keeps those that were read.
    """
    if not is_done(outcomes, attempt.split):
        return [("", "")]
    if attempt.split not in parts:
        parts[attempt.split] = read_parts(store, attempt.split)
    known = parts[attempt.split]
    return [(query, part) for part in attempt.task.score_on for query in known[part]]


def _make_grid(offer: ScorerOffer, held: Sequence[tuple[str, str]], job: _Job, words: Vocabulary) -> _Grid:
    """Return what a scorer owes."""
    on = job.attempt.task.score_on
    # One value for a whole split, which belongs to a part if no other is scored with it.
    places = {"perturbation": held, "task": [("", on[0] if len(on) == 1 else "")]}
    owed = [
        (*place, metric.id, variant)
        for metric in offer.metrics
        for variant in metric.variants
        if (variant == COMMON_GENES) == job.common
        for place in places.get(metric.level, [])
    ]
    columns = list(zip(*owed, strict=True)) if owed else [(), (), (), ()]
    perturbation, part, metric, variant = (
        getattr(words, name).codes(cells, len(owed))
        for name, cells in zip(("perturbation", "part", "metric", "variant"), columns, strict=True)
    )
    numbers = place_numbers(perturbation, metric, variant)
    return _Grid(perturbation, metric, variant, part, numbers, np.argsort(numbers, kind="stable"))


def _join(grid: _Grid, given: RecordScores, state: str, unanswered: Sequence[str], words: Vocabulary) -> _Rows:
    """Join what is owed with what was given: all rows of both."""
    missing = np.ones(len(grid.places), dtype=bool)
    part = np.full(len(given.value), words.part[""], dtype=np.int32)
    if len(missing):
        numbers, owed = given.places, grid.places[grid.order]
        at = np.minimum(np.searchsorted(owed, numbers), len(owed) - 1)
        hit = owed[at] == numbers
        part[hit] = grid.part[grid.order[at[hit]]]
        missing[grid.order[at[hit]]] = False
    absent = np.full(int(missing.sum()), np.nan)
    value = np.concatenate([given.value, absent])
    perturbation = np.concatenate([given.perturbation, grid.perturbation[missing]])
    return _Rows(
        perturbation=perturbation,
        gene=np.concatenate([given.gene, np.full(len(absent), words.gene[""], dtype=np.int32)]),
        metric=np.concatenate([given.metric, grid.metric[missing]]),
        variant=np.concatenate([given.variant, grid.variant[missing]]),
        part=np.concatenate([part, grid.part[missing]]),
        coordinate=np.concatenate([given.coordinate, absent]),
        value=value,
        state=_states(perturbation, value, state, words.perturbation.codes(unanswered, len(unanswered))),
    )


def _states(perturbation: np.ndarray, value: np.ndarray, state: str, unanswered: np.ndarray) -> np.ndarray:
    """Return the positions in `STATES`: of the job, or where this is done, of what became of the value."""
    if state != "done":
        return np.full(len(value), STATES.index(state), dtype=np.int8)
    states = np.where(np.isnan(value), STATES.index("undefined"), STATES.index("done")).astype(np.int8)
    if len(unanswered):
        states[np.isnan(value) & np.isin(perturbation, unanswered)] = STATES.index("unanswered")
    return states


def _categorical(codes: np.ndarray, words: Words) -> pd.Categorical:
    """Return words by their numbers."""
    return pd.Categorical.from_codes(codes, categories=pd.Index(list(words), dtype=object))


def _whose(jobs: Sequence[_Job], number: np.ndarray) -> dict[str, Any]:
    """Return the columns that say whose a score is, and from which record; `number` is the job of each row."""
    cells: dict[str, list[Any]] = {name: [] for name in _WHOSE}
    for job in jobs:
        one = job.attempt
        whose = (
            one.dataset, split_label(one.task), one.seed, one.plugin, one.model, one.params, one.task.name,
            one.training_seed, one.uses_validation and "val" in one.task.score_on, job.record,
        )  # fmt: skip
        for column, cell in zip(cells.values(), whose, strict=True):
            column.append(cell)
    columns: dict[str, Any] = {}
    for name, given in cells.items():
        if isinstance(given[0], str):
            codes, words = pd.factorize(np.array(given, dtype=object))
            columns[name] = pd.Categorical.from_codes(codes[number], categories=pd.Index(words, dtype=object))
        else:
            columns[name] = np.array(given)[number]
    return columns
