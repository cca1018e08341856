"""Collect all expected scores of a run in long form, each with its state and its record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pertharness.contract.cards import ScorerOffer
from pertharness.contract.scores import COMMON_GENES
from pertharness.contract.stages import SCORES
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
_OWNER = (
    "dataset", "split", "seed", "plugin", "model", "params", "task", "training_seed", "selected_on_scored", "record",
)  # fmt: skip


class _Job(NamedTuple):
    """A score job, planned or impossible because its prediction is missing."""

    attempt: Attempt
    scorer: str
    common: bool
    """Whether the job scores the variant ``common-genes`` alone."""
    key: str
    state: str
    path: Path | None
    record: str


class _Grid(NamedTuple):
    """The values expected of a scorer for a prediction, each array of shape (n_expected,)."""

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
    """Return all expected scores in long form, one row each; a missing value is NaN with a state.

    A metric of perturbations has one expected value per held-out perturbation, a metric of the task one per split.
    Curves, values of genes and the like have no expected values, only the rows that the scorer wrote. If a split could
    not be made, each model has one row per metric without a perturbation, so that the model is still shown. Columns of
    words have the dtype ``category``, which takes little memory for millions of rows.
    """
    jobs = [job for attempt in plan.attempts for job in _jobs_of(plan, attempt, outcomes, store)]
    if not jobs:
        return pd.DataFrame()
    words, grids, parts = Vocabulary(), dict[tuple[Any, ...], _Grid](), dict[str, dict[str, list[str]]]()
    for name in _WORDS[1:]:
        getattr(words, name)[""]  # the empty word has the same number in every run
    job_rows = []
    for job in jobs:
        held_out = _held_out(job.attempt, outcomes, store, parts)
        grid_key = (job.attempt.split, job.attempt.task.score_on, job.scorer, job.common)
        if grid_key not in grids:
            grids[grid_key] = _make_grid(plan.scorers[job.scorer], held_out, job, words)
        status = outcomes[job.attempt.prediction].status if is_done(outcomes, job.attempt.prediction) else None
        scores = read_score_table(job.path, words, common=job.common) if job.path else no_scores()
        job_rows.append(_join(grids[grid_key], scores, job.state, list(status.unanswered) if status else [], words))
    job_index = np.repeat(np.arange(len(jobs), dtype=np.int32), [len(rows.value) for rows in job_rows])
    columns = {name: np.concatenate([getattr(rows, name) for rows in job_rows]) for name in _Rows._fields}
    del job_rows
    frame: dict[str, Any] = {name: _categorical(columns.pop(name), getattr(words, name)) for name in _WORDS}
    frame |= {"state": pd.Categorical.from_codes(columns.pop("state"), categories=list(STATES)), **columns}
    return pd.DataFrame({**frame, **_owner_columns(jobs, job_index)}, copy=False)


def _jobs_of(plan: Plan, attempt: Attempt, outcomes: Mapping[str, Outcome], store: Store) -> Iterator[_Job]:
    """Yield the score jobs of a prediction; the variant ``common-genes`` has a job of its own."""
    state, _ = attempt_state(attempt, outcomes)
    for name, offer in plan.scorers.items():
        # A model without a prediction gets all scorers that fit its task; other models get those of their plan.
        is_asked = name in attempt.scores or (not attempt.prediction and is_for(offer, attempt.task))
        keys = {False: attempt.scores.get(name, "")} if is_asked else {}
        if name in attempt.common:
            keys[True] = attempt.common[name]
        for common, key in keys.items():
            job_state = state if state != "done" else outcomes[key].state
            path = store.record("scores", key) / SCORES if job_state == "done" else None
            yield _Job(attempt, name, common, key, job_state, path, record_of(outcomes, key, attempt.prediction))


def _held_out(
    attempt: Attempt, outcomes: Mapping[str, Outcome], store: Store, parts: dict[str, dict[str, list[str]]]
) -> list[tuple[str, str]]:
    """Return the held-out perturbations of a split, each with its part; one empty pair if the split is missing.

    `parts` caches the splits that were read.
    """
    if not is_done(outcomes, attempt.split):
        return [("", "")]
    if attempt.split not in parts:
        parts[attempt.split] = read_parts(store, attempt.split)
    parts_of_split = parts[attempt.split]
    return [(query, part) for part in attempt.task.score_on for query in parts_of_split[part]]


def _make_grid(offer: ScorerOffer, held_out: Sequence[tuple[str, str]], job: _Job, words: Vocabulary) -> _Grid:
    """Return the values expected of a scorer."""
    score_on = job.attempt.task.score_on
    # The one value of a whole split belongs to a part only if no other part is scored with it.
    cells_by_level = {"perturbation": held_out, "task": [("", score_on[0] if len(score_on) == 1 else "")]}
    owed = [
        (*cell, metric.id, variant)
        for metric in offer.metrics
        for variant in metric.variants
        if (variant == COMMON_GENES) == job.common
        for cell in cells_by_level.get(metric.level, [])
    ]
    columns = list(zip(*owed, strict=True)) if owed else [(), (), (), ()]
    perturbation, part, metric, variant = (
        getattr(words, name).codes(cells, len(owed))
        for name, cells in zip(("perturbation", "part", "metric", "variant"), columns, strict=True)
    )
    numbers = place_numbers(perturbation, metric, variant)
    return _Grid(perturbation, metric, variant, part, numbers, np.argsort(numbers, kind="stable"))


def _join(grid: _Grid, scores: RecordScores, state: str, unanswered: Sequence[str], words: Vocabulary) -> _Rows:
    """Return the rows that a scorer wrote, and a row for each expected value that it did not write."""
    missing = np.ones(len(grid.places), dtype=bool)
    part = np.full(len(scores.value), words.part[""], dtype=np.int32)
    if len(missing):
        numbers, owed = scores.places, grid.places[grid.order]
        position = np.minimum(np.searchsorted(owed, numbers), len(owed) - 1)
        is_owed = owed[position] == numbers
        part[is_owed] = grid.part[grid.order[position[is_owed]]]
        missing[grid.order[position[is_owed]]] = False
    absent = np.full(int(missing.sum()), np.nan)
    value = np.concatenate([scores.value, absent])
    perturbation = np.concatenate([scores.perturbation, grid.perturbation[missing]])
    return _Rows(
        perturbation=perturbation,
        gene=np.concatenate([scores.gene, np.full(len(absent), words.gene[""], dtype=np.int32)]),
        metric=np.concatenate([scores.metric, grid.metric[missing]]),
        variant=np.concatenate([scores.variant, grid.variant[missing]]),
        part=np.concatenate([part, grid.part[missing]]),
        coordinate=np.concatenate([scores.coordinate, absent]),
        value=value,
        state=_states(perturbation, value, state, words.perturbation.codes(unanswered, len(unanswered))),
    )


def _states(perturbation: np.ndarray, value: np.ndarray, state: str, unanswered: np.ndarray) -> np.ndarray:
    """Return positions in `STATES`: the state of a job that is not done, else the state of each value."""
    if state != "done":
        return np.full(len(value), STATES.index(state), dtype=np.int8)
    states = np.where(np.isnan(value), STATES.index("undefined"), STATES.index("done")).astype(np.int8)
    if len(unanswered):
        states[np.isnan(value) & np.isin(perturbation, unanswered)] = STATES.index("unanswered")
    return states


def _categorical(codes: np.ndarray, words: Words) -> pd.Categorical:
    """Return words as a column of the dtype ``category``, from their numbers."""
    return pd.Categorical.from_codes(codes, categories=pd.Index(list(words), dtype=object))


def _owner_columns(jobs: Sequence[_Job], job_index: np.ndarray) -> dict[str, Any]:
    """Return the columns that name the owner and the record of each score; `job_index` is the job of each row."""
    cells: dict[str, list[Any]] = {name: [] for name in _OWNER}
    for job in jobs:
        attempt = job.attempt
        owner = (
            attempt.dataset, split_label(attempt.task), attempt.seed, attempt.plugin, attempt.model, attempt.params,
            attempt.task.name, attempt.training_seed, attempt.uses_validation and "val" in attempt.task.score_on,
            job.record,
        )  # fmt: skip
        for column, cell in zip(cells.values(), owner, strict=True):
            column.append(cell)
    columns: dict[str, Any] = {}
    for name, values in cells.items():
        if isinstance(values[0], str):
            codes, words = pd.factorize(np.array(values, dtype=object))
            columns[name] = pd.Categorical.from_codes(codes[job_index], categories=pd.Index(words, dtype=object))
        else:
            columns[name] = np.array(values)[job_index]
    return columns
