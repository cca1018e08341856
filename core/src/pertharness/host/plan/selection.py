"""Choose a candidate of each grid by its scores on val, and plan what is scored for the leaderboard.

Only records of val are read here: nothing that is scored for the leaderboard exists by then for a candidate that is not
chosen, and none of it is computed later.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pertharness.contract.cards import MetricOffer
from pertharness.contract.stages import SCORES
from pertharness.host.execution.nodes import Node, Outcome
from pertharness.host.plan.plan import Attempt, Candidate, Plan, Selection
from pertharness.host.plan.split_jobs import queries_of
from pertharness.host.store.records import Store

_DIGITS = 12  # Beyond this, sums differ between machines; what is equal to these digits is a tie, which the first wins.


def plan_selected(plan: Plan, outcomes: Mapping[str, Outcome], store: Store) -> list[Node]:
    """Choose a candidate of each grid, add the jobs that score it, and return them.

    Of the candidates with the largest number of scores on val, the first of those with the best mean is chosen. If none
    has a score, the grid has the state and the reason of its first candidate.

    Parameters
    ----------
    plan
        Gets the jobs, the attempts of the chosen candidates, and what came of every candidate.
    outcomes
        Key -> how the job ended.
    store
        Store of the score records.
    """
    for number in range(len(plan.selections)):
        _select(plan, number, outcomes, store)
    return [node for key, node in plan.nodes.items() if key not in outcomes]


def foresee_selected(
    plan: Plan, outcomes: Mapping[str, Outcome], store: Store
) -> list[tuple[str, tuple[Candidate, ...]]]:
    """Choose a candidate of each grid whose candidates have ended.

    Of the other grids, return the titles of the jobs that will score the chosen one, with its candidates. For a plan
    that is shown and not carried out.

    Parameters
    ----------
    plan
        Gets the jobs of the candidates that are chosen.
    outcomes
        Key -> how the job ended, of those in the store.
    store
        Store of the score records.
    """
    titles = []
    for number, selection in enumerate(plan.selections):
        candidates = selection.candidates
        keys = {key for each in candidates for key in (each.prediction, each.val_scores) if key}
        if keys <= outcomes.keys():
            _select(plan, number, outcomes, store)
            continue
        titles += [(title, candidates) for title in _titles_of_scores(plan, selection)]
    return titles


def _titles_of_scores(plan: Plan, selection: Selection) -> list[str]:
    """Return the titles of the jobs that will score the candidate that is chosen; the plan stays as it is."""
    first = next(each for each in selection.candidates if each.prediction)
    nodes = dict(plan.nodes)
    # The jobs of the first stand for those of any: they have other keys. Where the plan has them for another attempt,
    # they have its title there.
    for key in [key for key, node in nodes.items() if node.stage == "scores"]:
        del plan.nodes[key]
    scored = selection.score(replace(plan.attempts[selection.position], prediction=first.prediction))
    titles = [plan.nodes[key].title for key in (*scored.scores.values(), *scored.half.values())]
    plan.nodes.clear()
    plan.nodes.update(nodes)
    return titles


def _select(plan: Plan, number: int, outcomes: Mapping[str, Outcome], store: Store) -> None:
    """Choose a candidate of one grid, and add the jobs that score it."""
    selection = plan.selections[number]
    attempt = plan.attempts[selection.position]
    judged = tuple(_judge(each, attempt, selection.metric, outcomes, store) for each in selection.candidates)
    best = choose(judged, selection.metric)
    judged = tuple(replace(each, is_chosen=position == best) for position, each in enumerate(judged))
    plan.selections[number] = replace(selection, candidates=judged)
    plan.attempts[selection.position] = _attempt_of(attempt, selection, judged, best, outcomes)


def choose(candidates: Sequence[Candidate], metric: MetricOffer) -> int | None:
    """Return the position of the best candidate, the first of equal ones; None if none has a value.

    A mean over fewer predictions is no match for one over more: what a model does not answer may be what is hard.
    """
    sign = 1.0 if metric.direction == "higher" else -1.0
    most = max((each.n for each in candidates), default=0)
    values = {i: sign * each.value for i, each in enumerate(candidates) if each.n == most and math.isfinite(each.value)}
    return max(values, key=lambda i: (values[i], -i)) if values else None


def _judge(
    candidate: Candidate, attempt: Attempt, metric: MetricOffer, outcomes: Mapping[str, Outcome], store: Store
) -> Candidate:
    """Return a candidate with its mean on val, or with the reason why it has none."""
    for key in (candidate.prediction, candidate.val_scores):
        if key and outcomes[key].state != "done":
            return replace(candidate, state=outcomes[key].state, reason=outcomes[key].message)
    if candidate.reason:
        return candidate
    values = _read_values(store.record("scores", candidate.val_scores) / SCORES, metric)
    value, n = (math.fsum(values) / len(values) if values else math.nan), len(values)
    if not values:
        return replace(candidate, state="done", reason=f"no value of {metric.id} on val")
    if metric.level == "task":  # one value, of all that it answered
        status = outcomes[candidate.prediction].status
        unanswered = status.unanswered if status else {}
        n = sum(query not in unanswered for query in queries_of(store, attempt.split, ["val"]))
    return replace(candidate, state="done", value=float(f"{value:.{_DIGITS}g}"), n=n)


def _read_values(path: Path, metric: MetricOffer) -> list[float]:
    """Return the values of the first variant of a metric in a score table, without those that are not finite."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [
            row for row in csv.DictReader(file)
            if (row["metric"], row["variant"]) == (metric.id, metric.variants[0])
            and not row["gene"] and not row["coordinate"]
        ]  # fmt: skip
    values = [float(row["value"] or "nan") for row in rows]
    return [value for value in values if math.isfinite(value)]


def _attempt_of(
    attempt: Attempt, selection: Selection, judged: Sequence[Candidate], best: int | None,
    outcomes: Mapping[str, Outcome],
) -> Attempt:  # fmt: skip
    """Return the attempt of a grid, with the jobs that score its chosen candidate."""
    first = judged[0]
    if best is not None:
        return selection.score(replace(attempt, prediction=judged[best].prediction))
    if first.prediction and outcomes[first.prediction].state != "done":
        return selection.score(replace(attempt, prediction=first.prediction))  # what waits for it ends as it did
    state = first.state if first.state != "done" else "skipped"
    return replace(attempt, reason=f"no candidate was chosen: {first.reason}", state=state)
