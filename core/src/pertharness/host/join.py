"""The records of a run as tables: every expected score with its state, and what everything cost."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pertharness.cards import MetricOffer, TableOffer
from pertharness.host.leaderboard.cube import STATES
from pertharness.host.leaderboard.pooled import Piece
from pertharness.host.leaderboard.settings import TaskSettings
from pertharness.host.nodes import Outcome
from pertharness.host.plan import Attempt, Plan, is_for
from pertharness.host.split_job import read_parts, split_label
from pertharness.host.store import Store
from pertharness.scores import COLUMNS, COMMON_GENES


class _Owed(NamedTuple):
    """What a scorer owes for a prediction: a value per place, metric and variant; and where what it gave lies."""

    attempt: Attempt
    common: bool
    """Of the variant ``common-genes``, and no other."""
    state: str
    rows: list[tuple[str, str, str, str]]
    """perturbation, part, metric, variant."""
    path: Path | None
    unanswered: frozenset[str]


def join_scores(plan: Plan, outcomes: Mapping[str, Outcome], store: Store) -> pd.DataFrame:
    """Give all expected scores in long form, one row each, NaN with a state where there is no value.

    A metric of perturbations owes one value for each that is held out, one of the task one for the split. Of curves,
    genes and the like nobody can say what is missing: they have the rows that the scorer gave. A task whose split could
    not be made expects nothing that can be listed: each of its models has one row per metric without a perturbation, so
    that it is still seen.
    """
    splits = dict.fromkeys(attempt.split for attempt in plan.attempts if _done(outcomes, attempt.split))
    parts = {split: read_parts(store, split) for split in splits}
    jobs = [owed for attempt in plan.attempts for owed in _owed(plan, attempt, outcomes, store, parts)]
    if not jobs:
        return pd.DataFrame()
    expected = [(number, *row) for number, job in enumerate(jobs) for row in job.rows]
    given = [(number, *row) for number, job in enumerate(jobs) if job.path for row in _read_scores(job)]
    grid = pd.DataFrame(expected, columns=["job", "perturbation", "part", "metric", "variant"], dtype=object)
    found = pd.DataFrame(given, columns=["job", *COLUMNS], dtype=object)
    for column in ("coordinate", "value"):  # by numpy, whose reading is exact; that of pandas before 3 is not
        found[column] = found[column].replace("", "nan").to_numpy(dtype=str).astype(np.float64)
    joined = grid.merge(found, on=["job", "perturbation", "metric", "variant"], how="outer", sort=False)
    joined[["part", "gene"]] = joined[["part", "gene"]].fillna("")
    number = joined.pop("job").to_numpy(dtype=int)
    whose = pd.DataFrame([_whose(job.attempt) for job in jobs]).take(number).reset_index(drop=True)
    return pd.concat([joined.assign(state=_states(joined, jobs, number)), whose], axis=1)


def _whose(attempt: Attempt) -> dict[str, Any]:
    """Give the columns that say whose a score is."""
    return {
        "dataset": attempt.dataset, "split": split_label(attempt.task), "seed": attempt.seed, "plugin": attempt.plugin,
        "model": attempt.model, "params": attempt.params, "task": attempt.task.name,
        "training_seed": attempt.training_seed,
        "selected_on_scored": attempt.uses_validation and "val" in attempt.task.score_on,
    }  # fmt: skip


def _owed(
    plan: Plan, attempt: Attempt, outcomes: Mapping[str, Outcome], store: Store,
    parts: Mapping[str, Mapping[str, list[str]]],
) -> Iterator[_Owed]:  # fmt: skip
    """Yield what each scorer owes for a prediction; in a job of its own, the variant ``common-genes`` alone."""
    on, known = attempt.task.score_on, parts.get(attempt.split)
    held: list[tuple[str, str]] = [(query, part) for part in on for query in known[part]] if known else [("", "")]
    # One value for a whole split, which belongs to a part if no other is scored with it.
    places: dict[str, list[tuple[str, str]]] = {"perturbation": held, "task": [("", on[0] if len(on) == 1 else "")]}
    status = outcomes[attempt.prediction].status if _done(outcomes, attempt.prediction) else None
    unanswered = frozenset(status.unanswered if status else ())
    for name, offer in plan.scorers.items():
        # Of a model that predicts nothing all that it would have been asked; else what it was.
        asked = name in attempt.scores or (not attempt.prediction and is_for(offer, attempt.task))
        keys = {False: attempt.scores.get(name, "")} if asked else {}
        if name in attempt.common:
            keys[True] = attempt.common[name]
        for common, key in keys.items():
            rows = [
                (*place, metric.id, variant)
                for metric in offer.metrics
                for variant in metric.variants
                if (variant == COMMON_GENES) == common
                for place in places.get(metric.level, [])
            ]
            state, _ = attempt_state(attempt, outcomes)
            state = state if state != "done" else outcomes[key].state
            path = store.record("scores", key) / "scores.csv" if state == "done" else None
            yield _Owed(attempt, common, state, rows, path, unanswered)


def _read_scores(job: _Owed) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a score table that are of the variants which its job is for."""
    with job.path.open(newline="", encoding="utf-8") as file:  # type: ignore[union-attr]
        rows = csv.reader(file)
        place = {name: position for position, name in enumerate(next(rows))}
        order = [place[name] for name in COLUMNS]
        for row in rows:
            if (row[place["variant"]] == COMMON_GENES) == job.common:
                yield tuple(row[position] for position in order)


def _states(joined: pd.DataFrame, jobs: Sequence[_Owed], number: np.ndarray) -> np.ndarray:
    """Give the state of each row: that of its job, or where this is done, what became of the value."""
    silent = pd.MultiIndex.from_tuples(
        [(i, query) for i, job in enumerate(jobs) for query in job.unanswered] or [(-1, "")]
    )
    unanswered = pd.MultiIndex.from_arrays([number, joined["perturbation"]]).isin(silent)
    of_value = np.where(joined["value"].notna(), "done", np.where(unanswered, "unanswered", "undefined"))
    of_job = np.array([job.state for job in jobs], dtype=object)[number]
    states: np.ndarray = np.where(of_job == "done", of_value, of_job)
    return states


def _done(outcomes: Mapping[str, Outcome], key: str) -> bool:
    return key in outcomes and outcomes[key].state == "done"


def attempt_state(attempt: Attempt, outcomes: Mapping[str, Outcome]) -> tuple[str, str]:
    """Give state and message of an attempt's prediction."""
    if attempt.reason:
        return attempt.state, attempt.reason
    outcome = outcomes[attempt.prediction]
    return outcome.state, outcome.message


def _left_out(attempt: Attempt, outcomes: Mapping[str, Outcome]) -> str:
    """Say why a prediction that is done does not answer all: the commonest reason, and genes that are missing."""
    status = outcomes[attempt.prediction].status if attempt.prediction in outcomes else None
    if status is None:
        return ""
    said = [f"e.g. {reason}" for reason, _ in Counter(status.unanswered.values()).most_common(1)]
    return "; ".join([*said, *(note for note in status.notes if "genes are not predicted" in note)])


def reasons(plan: Plan, outcomes: Mapping[str, Outcome]) -> dict[tuple[str, ...], str]:
    """Give, per dataset, task and model, and with a metric for it alone, the message of the worst record behind it."""
    worst: dict[tuple[str, ...], tuple[str, str]] = {}

    def found(place: tuple[str, ...], *ends: tuple[str, str]) -> None:
        known = worst.get(place, ("done", ""))
        worst[place] = max([known, *ends], key=lambda one: (STATES.index(one[0]), bool(one[1])))

    for attempt in plan.attempts:
        place = (attempt.dataset, attempt.task.name, attempt.label)
        ends = attempt_state(attempt, outcomes), ("done", _left_out(attempt, outcomes))
        found(place, *ends)
        for name, key in [*attempt.scores.items(), *attempt.common.items()]:
            for metric in plan.scorers[name].metrics:
                found((*place, metric.id), *ends, (outcomes[key].state, outcomes[key].message))
    return {place: message for place, (_, message) in worst.items() if message}


def skipped_scorers(plan: Plan, outcomes: Mapping[str, Outcome]) -> dict[tuple[str, str, str], str]:
    """Give why a scorer is skipped, by dataset, task and scorer, where it scored none of what was predicted."""
    ends: dict[tuple[str, str, str], list[Outcome]] = {}
    for attempt in plan.attempts:
        if _done(outcomes, attempt.prediction):
            for name, key in attempt.scores.items():
                ends.setdefault((attempt.dataset, attempt.task.name, name), []).append(outcomes[key])
    return {
        place: Counter(outcome.message for outcome in found).most_common(1)[0][0]
        for place, found in ends.items()
        if all(outcome.state == "skipped" for outcome in found)
    }


def without_skipped(scores: pd.DataFrame, plan: Plan, skipped: Mapping[tuple[str, str, str], str]) -> pd.DataFrame:
    """Give the scores without those that a skipped scorer owes: one line says so, and no table of empty rows."""
    kept = np.ones(len(scores), dtype=bool)
    for dataset, task, name in skipped:
        theirs = scores["metric"].isin([metric.id for metric in plan.scorers[name].metrics])
        kept &= ~(theirs & (scores["dataset"] == dataset) & (scores["task"] == task)).to_numpy()
    return scores[kept]


def tables_of(plan: Plan, outcomes: Mapping[str, Outcome], store: Store) -> dict[str, tuple[TableOffer, list[Piece]]]:
    """Give the tables beside the scores: by name, what its card says and where those of the records lie."""
    found: dict[str, tuple[TableOffer, list[Piece]]] = {
        table.name: (table, []) for offer in plan.scorers.values() for table in offer.tables
    }
    for one in plan.attempts:
        whose = (one.dataset, one.task.name, one.plugin, one.model, one.params, one.training_seed)
        for name, key in one.scores.items():
            status = outcomes[key].status if _done(outcomes, key) else None
            for table in plan.scorers[name].tables if status else ():
                artefact = status.artefacts.get(f"{table.name}.csv")  # type: ignore[union-attr]
                if artefact is not None:
                    path = store.record("scores", key) / f"{table.name}.csv"
                    piece = Piece(*whose, split_label(one.task), one.seed, path, artefact.sha256)
                    found[table.name][1].append(piece)
    return found


def settings_of(plan: Plan) -> dict[tuple[str, str], TaskSettings]:
    """Give what the recipe settles on how the models of each dataset and task are compared."""
    return {
        (attempt.dataset, attempt.task.name): TaskSettings(attempt.task.reference, tuple(attempt.task.common_set))
        for attempt in plan.attempts
    }


def metrics_of(plan: Plan) -> dict[str, MetricOffer]:
    """Give the metrics of all scorers, by id."""
    return {metric.id: metric for offer in plan.scorers.values() for metric in offer.metrics}


def strata_of(plan: Plan, store: Store) -> pd.DataFrame:
    """Give effect size and on-target state of every perturbation of every dataset whose record is there."""
    frames = [pd.DataFrame({"dataset": [], "perturbation": [], "effect": [], "on_target": []}, dtype=object)]
    for name, key in plan.datasets.items():
        path = store.record("datasets", key) / "perturbations.csv"
        if store.status("datasets", key) is not None and path.exists():
            table = pd.read_csv(path, keep_default_na=False, dtype=str)
            table["effect"] = pd.to_numeric(table["effect"], errors="coerce")
            table["on_target"] = table["on_target"].map({"True": "yes", "False": "no"}).fillna("")
            frames.append(table.assign(dataset=name)[["dataset", "perturbation", "effect", "on_target"]])
    return pd.concat(frames[1:], ignore_index=True) if len(frames) > 1 else frames[0]


def join_costs(plan: Plan, outcomes: Mapping[str, Outcome]) -> pd.DataFrame:
    """Give what each phase of each record cost, as its worker measured it."""
    rows: list[dict[str, Any]] = []
    for attempt in plan.attempts:
        who = {
            "dataset": attempt.dataset, "task": attempt.task.name, "seed": attempt.seed,
            "training_seed": attempt.training_seed, "plugin": attempt.plugin, "model": attempt.model,
            "params": attempt.params,
        }  # fmt: skip
        keys = [*attempt.scores.values(), *attempt.common.values()]
        for stage, key in [("predictions", attempt.prediction), *(("scores", key) for key in keys)]:
            status = outcomes[key].status if key in outcomes else None
            for phase in status.phases if status else ():
                cost = {**phase.model_dump(), "phase": phase.name}
                del cost["name"]
                rows.append({**who, "stage": stage, **cost, "device": status.device, "state": status.state, "key": key})  # type: ignore[union-attr]
    columns: Sequence[str] = (
        "dataset", "task", "seed", "training_seed", "plugin", "model", "params", "stage", "phase", "wall_s", "cpu_s",
        "peak_rss_mb", "peak_gpu_mb", "device", "state", "key",
    )  # fmt: skip
    return pd.DataFrame(rows, columns=list(columns))
