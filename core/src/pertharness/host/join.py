"""The records of a run as tables: every expected score with its state, and what everything cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pertharness.cards import MetricOffer
from pertharness.host.leaderboard.cube import STATES
from pertharness.host.leaderboard.settings import TaskSettings
from pertharness.host.nodes import Outcome
from pertharness.host.plan import Attempt, Plan
from pertharness.host.split_job import read_parts, split_label
from pertharness.host.store import Store


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
    state, _ = attempt_state(attempt, outcomes)
    held = [(query, part) for part in attempt.task.score_on for query in parts[part]] if parts else [("", "")]
    frames = []
    for name, offer in plan.scorers.items():
        scored = _done(outcomes, attempt.scores.get(name, ""))
        mine = state if state != "done" or scored else outcomes[attempt.scores[name]].state
        announced = [(metric.id, variant) for metric in offer.metrics for variant in metric.variants]
        rows = [(*query, *metric) for query in held for metric in announced]
        grid = pd.DataFrame(rows, columns=["perturbation", "part", "metric", "variant"])
        if scored:
            table = _read_scores(store.record("scores", attempt.scores[name]) / "scores.csv")
            grid = grid.merge(table, on=["perturbation", "metric", "variant"], how="outer", sort=False)
            grid["part"] = grid["part"].fillna("")
        else:
            grid = grid.assign(gene="", coordinate=np.nan, value=np.nan)
        grid["state"] = mine if mine != "done" else _states(grid, attempt, outcomes)
        frames.append(grid)
    joined = pd.concat(frames, ignore_index=True).assign(
        dataset=attempt.dataset, split=split_label(attempt.task), seed=attempt.seed, plugin=attempt.plugin,
        model=attempt.model, params=attempt.params, task=attempt.task.name, training_seed=attempt.training_seed,
        selected_on_scored=attempt.uses_validation and "val" in attempt.task.score_on,
    )  # fmt: skip
    joined["gene"] = joined["gene"].fillna("")
    return joined


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


def reasons(plan: Plan, outcomes: Mapping[str, Outcome]) -> dict[tuple[str, str, str], str]:
    """Give, per dataset, task and model, the message of its worst record that is not done."""
    worst: dict[tuple[str, str, str], tuple[str, str]] = {}
    for attempt in plan.attempts:
        found = [attempt_state(attempt, outcomes), ("done", _left_out(attempt, outcomes))]
        found += [(outcomes[key].state, outcomes[key].message) for key in attempt.scores.values()]
        place = (attempt.dataset, attempt.task.name, attempt.label)
        worst[place] = max(
            [worst.get(place, ("done", "")), *found], key=lambda one: (STATES.index(one[0]), bool(one[1]))
        )
    return {place: message for place, (_, message) in worst.items() if message}


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
        for stage, key in [("predictions", attempt.prediction), *(("scores", key) for key in attempt.scores.values())]:
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
