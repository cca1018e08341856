"""Reasons why scores are missing: the states and messages of the records behind each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pertharness.host.execution.nodes import Outcome
from pertharness.host.leaderboard.cube import STATES
from pertharness.host.plan import Attempt, Plan
from pertharness.host.plan.split_jobs import queries_of
from pertharness.host.store.records import Store

if TYPE_CHECKING:
    import pandas as pd


def is_done(outcomes: Mapping[str, Outcome], key: str) -> bool:
    """Return whether the job of a key exists and is done."""
    return key in outcomes and outcomes[key].state == "done"


def attempt_state(attempt: Attempt, outcomes: Mapping[str, Outcome]) -> tuple[str, str]:
    """Return state and message of an attempt's prediction."""
    if attempt.reason:
        return attempt.state, attempt.reason
    outcome = outcomes[attempt.prediction]
    return outcome.state, outcome.message


def _incomplete_reason(attempt: Attempt, outcomes: Mapping[str, Outcome], store: Store) -> str:
    """Return the reasons why a finished prediction is incomplete: the commonest one, and missing genes.

    What a candidate of a grid does not answer of val counts only where val is scored.
    """
    status = outcomes[attempt.prediction].status if attempt.prediction in outcomes else None
    if status is None:
        return ""
    unanswered = status.unanswered
    if unanswered and is_done(outcomes, attempt.split):
        scored = queries_of(store, attempt.split, attempt.task.score_on)
        unanswered = {query: unanswered[query] for query in unanswered if query in scored}
    causes = [f"e.g. {reason}" for reason, _ in Counter(unanswered.values()).most_common(1)]
    return "; ".join([*causes, *(note for note in status.notes if "genes are not predicted" in note)])


def reasons(plan: Plan, outcomes: Mapping[str, Outcome], store: Store) -> dict[tuple[str, ...], str]:
    """Return the message of the worst record, by dataset, task and model, and for single metrics by metric too."""
    worst: dict[tuple[str, ...], tuple[str, str]] = {}

    def add(model_key: tuple[str, ...], *ends: tuple[str, str]) -> None:
        previous = worst.get(model_key, ("done", ""))
        worst[model_key] = max([previous, *ends], key=lambda end: (STATES.index(end[0]), bool(end[1])))

    for attempt in plan.attempts:
        model_key = (attempt.dataset, attempt.task.name, attempt.label)
        ends = attempt_state(attempt, outcomes), ("done", _incomplete_reason(attempt, outcomes, store))
        add(model_key, *ends)
        for name, key in [*attempt.scores.items(), *attempt.common.items()]:
            for metric in plan.scorers[name].metrics:
                add((*model_key, metric.id), *ends, (outcomes[key].state, outcomes[key].message))
    return {model_key: message for model_key, (_, message) in worst.items() if message}


def skipped_scorers(plan: Plan, outcomes: Mapping[str, Outcome]) -> dict[tuple[str, str, str], str]:
    """Return the reasons of skipped scorers, by dataset, task and scorer; a scorer that scored anything is absent."""
    outcomes_by_scorer: dict[tuple[str, str, str], list[Outcome]] = {}
    for attempt in plan.attempts:
        if is_done(outcomes, attempt.prediction):
            for name, key in attempt.scores.items():
                outcomes_by_scorer.setdefault((attempt.dataset, attempt.task.name, name), []).append(outcomes[key])
    return {
        scorer_key: Counter(outcome.message for outcome in scorer_outcomes).most_common(1)[0][0]
        for scorer_key, scorer_outcomes in outcomes_by_scorer.items()
        if all(outcome.state == "skipped" for outcome in scorer_outcomes)
    }


def without_skipped(scores: pd.DataFrame, plan: Plan, skipped: Mapping[tuple[str, str, str], str]) -> pd.DataFrame:
    """Return the scores without those of skipped scorers, which a note names in place of empty tables."""
    keep = np.ones(len(scores), dtype=bool)
    for dataset, task, name in skipped:
        is_skipped = scores["metric"].isin([metric.id for metric in plan.scorers[name].metrics])
        keep &= ~(is_skipped & (scores["dataset"] == dataset) & (scores["task"] == task)).to_numpy()
    return scores if keep.all() else scores[keep]
