"""The selections of a run's grids: every candidate with its score on val, and notes on what was chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pandas as pd

from pertharness.host.execution.nodes import Outcome
from pertharness.host.join.records import record_of
from pertharness.host.leaderboard.tables import Note, shortened, title_of
from pertharness.host.plan import SELECTION, Plan
from pertharness.host.plan.split_jobs import split_label

_COLUMNS = (
    "dataset", "task", "plugin", "model", "params", "split", "seed", "training_seed", "grid", "metric", "direction",
    "value", "n", "chosen", "state", "reason", "record",
)  # fmt: skip
_NOTHING = "none"
SUMMARY = "Score of every candidate of a grid on val, and which was chosen"


def join_selections(plan: Plan, outcomes: Mapping[str, Outcome]) -> pd.DataFrame:
    """Return a row per candidate of each grid, split and training seed, in their written order.

    Returns
    -------
    pandas.DataFrame
        ``params`` are those of the candidate, ``grid`` those of its row on the leaderboard; ``value`` is the mean over
        the ``n`` predictions of val, NaN where there is none for the ``reason``; ``chosen`` is ``yes`` or empty;
        ``record`` is the key of the score job on val, or of the prediction whose end is the reason.
    """
    rows = []
    for selection in plan.selections:
        attempt = plan.attempts[selection.position]
        for each in selection.candidates:
            record = record_of(outcomes, each.val_scores, each.prediction)
            rows.append((
                attempt.dataset, attempt.task.name, attempt.plugin, attempt.model, each.params,
                split_label(attempt.task), attempt.seed, attempt.training_seed, attempt.params, selection.metric.id,
                selection.metric.direction, each.value, each.n, "yes" if each.is_chosen else "", each.state,
                each.reason, record,
            ))  # fmt: skip
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def selection_notes(plan: Plan) -> list[Note]:
    """Return a note per dataset, task and grid: which candidates were chosen, and in how many of the selections.

    There is none where nothing was chosen: the grid's row has the reason.
    """
    chosen: dict[tuple[str, str, str, str], list[str]] = {}
    for selection in plan.selections:
        attempt = plan.attempts[selection.position]
        params = [each.params for each in selection.candidates if each.is_chosen]
        key = (attempt.dataset, attempt.task.name, attempt.label, selection.metric.id)
        chosen.setdefault(key, []).extend(params or [_NOTHING])
    notes = []
    for (dataset, task, label, metric), params in sorted(chosen.items()):
        if {*params} == {_NOTHING}:
            continue
        counts = ", ".join(f"{name} ({number} of {len(params)})" for name, number in Counter(params).most_common())
        text = f"{label}: chosen by {metric} on val, for each split and training seed: {counts}"
        notes.append(Note(title_of(dataset, task), shortened(text, f"tables/{SELECTION}.csv")))
    return notes
