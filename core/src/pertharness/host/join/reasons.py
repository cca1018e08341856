"""Why something is missing: the states and messages of the records behind each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pertharness.host.execution.nodes import Outcome
from pertharness.host.leaderboard.cube import STATES
from pertharness.host.plan import Attempt, Plan

if TYPE_CHECKING:
    import pandas as pd


def is_done(outcomes: Mapping[str, Outcome], key: str) -> bool:
    """Return whether there is a job of this key and it is done."""
    return key in outcomes and outcomes[key].state == "done"


def attempt_state(attempt: Attempt, outcomes: Mapping[str, Outcome]) -> tuple[str, str]:
    """Return state and message of an attempt's prediction."""
    if attempt.reason:
        return attempt.state, attempt.reason
    outcome = outcomes[attempt.prediction]
    return outcome.state, outcome.message


def _left_out(attempt: Attempt, outcomes: Mapping[str, Outcome]) -> str:
    """Return why a prediction that is done does not answer all: the commonest reason, and genes that are missing."""
    status = outcomes[attempt.prediction].status if attempt.prediction in outcomes else None
    if status is None:
        return ""
    said = [f"e.g. {reason}" for reason, _ in Counter(status.unanswered.values()).most_common(1)]
    return "; ".join([*said, *(note for note in status.notes if "genes are not predicted" in note)])


def reasons(plan: Plan, outcomes: Mapping[str, Outcome]) -> dict[tuple[str, ...], str]:
    """Return, by dataset, task and model, and with a metric for it alone, the message of the worst record behind it."""
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
    """Return why a scorer is skipped, by dataset, task and scorer, where it scored none of what was predicted."""
    ends: dict[tuple[str, str, str], list[Outcome]] = {}
    for attempt in plan.attempts:
        if is_done(outcomes, attempt.prediction):
            for name, key in attempt.scores.items():
                ends.setdefault((attempt.dataset, attempt.task.name, name), []).append(outcomes[key])
    return {
        place: Counter(outcome.message for outcome in found).most_common(1)[0][0]
        for place, found in ends.items()
        if all(outcome.state == "skipped" for outcome in found)
    }


def without_skipped(scores: pd.DataFrame, plan: Plan, skipped: Mapping[tuple[str, str, str], str]) -> pd.DataFrame:
    """Return the scores without those that a skipped scorer owes: one line says so, and no table of empty rows."""
    kept = np.ones(len(scores), dtype=bool)
    for dataset, task, name in skipped:
        theirs = scores["metric"].isin([metric.id for metric in plan.scorers[name].metrics])
        kept &= ~(theirs & (scores["dataset"] == dataset) & (scores["task"] == task)).to_numpy()
    return scores if kept.all() else scores[kept]
