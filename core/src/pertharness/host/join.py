"""The records of a run as tables: every expected score with its state, and what everything cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pertharness.cards import MetricOffer, ScorerOffer, TableOffer
from pertharness.host.leaderboard.cube import STATES
from pertharness.host.leaderboard.pooled import Piece
from pertharness.host.leaderboard.settings import TaskSettings
from pertharness.host.nodes import Outcome
from pertharness.host.plan import Attempt, Plan, is_for
from pertharness.host.split_job import read_parts, split_label
from pertharness.host.store import Store
from pertharness.scores import COLUMNS, COMMON_GENES


def join_scores(plan: Plan, outcomes: Mapping[str, Outcome], store: Store) -> pd.DataFrame:
    """Give all expected scores in long form, one row each, NaN with a state where there is no value.

    A task whose split could not be made expects nothing that can be listed: each of its models has one row per metric
    without a perturbation, so that it is still seen.
    """
    parts = {
        attempt.split: read_parts(store, attempt.split) for attempt in plan.attempts if _done(outcomes, attempt.split)
    }
    frames = [_attempt_scores(plan, attempt, outcomes, store, parts.get(attempt.split)) for attempt in plan.attempts]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _attempt_scores(
    plan: Plan, attempt: Attempt, outcomes: Mapping[str, Outcome], store: Store, parts: Mapping[str, list[str]] | None
) -> pd.DataFrame:
    on = attempt.task.score_on
    held: list[tuple[str, str]] = [(query, part) for part in on for query in parts[part]] if parts else [("", "")]
    # One value for a whole split, which belongs to a part if no other is scored with it.
    places: dict[str, list[tuple[str, str]]] = {"perturbation": held, "task": [("", on[0] if len(on) == 1 else "")]}
    frames = [pd.DataFrame({name: [] for name in (*COLUMNS, "part", "state")}, dtype=object)]
    for name, offer in plan.scorers.items():
        # Of a model that predicts nothing all that it would have been asked; else what it was.
        if name in attempt.scores or (not attempt.prediction and is_for(offer, attempt.task)):
            frames.append(_job_scores(offer, places, attempt, attempt.scores.get(name, ""), outcomes, store))
        if name in attempt.common:
            job = attempt.common[name]
            frames.append(_job_scores(offer, places, attempt, job, outcomes, store, common=True))
    kept = [frame for frame in frames if len(frame)]
    return pd.concat(kept or frames, ignore_index=True).assign(
        dataset=attempt.dataset, split=split_label(attempt.task), seed=attempt.seed, plugin=attempt.plugin,
        model=attempt.model, params=attempt.params, task=attempt.task.name, training_seed=attempt.training_seed,
        selected_on_scored=attempt.uses_validation and "val" in on,
    )  # fmt: skip


def _job_scores(
    offer: ScorerOffer, places: Mapping[str, list[tuple[str, str]]], attempt: Attempt, key: str,
    outcomes: Mapping[str, Outcome], store: Store, *, common: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Give what a scorer owes for a prediction, with what it gave: of one job the variant ``common-genes`` alone.

    A metric of perturbations owes one value for each that is held out, one of the task one for the split. Of curves,
    genes and the like nobody can say what is missing: they have the rows that the scorer gave.
    """
    rows = [
        (*place, metric.id, variant)
        for metric in offer.metrics
        for variant in metric.variants
        if (variant == COMMON_GENES) == common
        for place in places.get(metric.level, ())
    ]
    grid = pd.DataFrame(rows, columns=["perturbation", "part", "metric", "variant"], dtype=object)
    if not _done(outcomes, key):
        state, _ = attempt_state(attempt, outcomes)
        state = state if state != "done" else outcomes[key].state
        return grid.assign(gene="", coordinate=np.nan, value=np.nan, state=state)
    table = _read_scores(store.record("scores", key) / "scores.csv")
    table = table[(table["variant"] == COMMON_GENES) == common]
    grid = grid.merge(table, on=["perturbation", "metric", "variant"], how="outer", sort=False)
    grid[["part", "gene"]] = grid[["part", "gene"]].fillna("")
    return grid.assign(state=_states(grid, attempt, outcomes))


def _states(grid: pd.DataFrame, attempt: Attempt, outcomes: Mapping[str, Outcome]) -> np.ndarray:
    """Give the state of each row of an attempt that was predicted and scored."""
    status = outcomes[attempt.prediction].status
    unanswered = grid["perturbation"].isin(status.unanswered if status else ())
    return np.where(grid["value"].notna(), "done", np.where(unanswered, "unanswered", "undefined"))


def _read_scores(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for column in ("coordinate", "value"):  # by numpy, whose reading is exact; that of pandas before 3 is not
        table[column] = table[column].replace("", "nan").to_numpy(dtype=str).astype(np.float64)
    return table


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
