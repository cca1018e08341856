"""Find the records behind a row of the leaderboard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pertharness.host.execution.nodes import Outcome
from pertharness.host.plan import Plan

if TYPE_CHECKING:
    import pandas as pd

_MODEL = ["dataset", "task", "plugin", "model", "params"]


def record_of(outcomes: Mapping[str, Outcome], *keys: str) -> str:
    """Return the first key that has a record; empty if none has."""
    return next((key for key in keys if key in outcomes and outcomes[key].status is not None), "")


def with_records(leaderboard: pd.DataFrame, plan: Plan, outcomes: Mapping[str, Outcome]) -> pd.DataFrame:
    """Return the leaderboard with a column ``record``: the keys of a row's predictions, separated by spaces.

    Keys are in the order of split seeds and training seeds. Predictions without a record are left out.
    """
    keys: dict[tuple[str, ...], dict[str, None]] = {}
    for attempt in sorted(
        [*plan.attempts, *plan.duplicates], key=lambda attempt: (attempt.seed, attempt.training_seed)
    ):
        model_key = (attempt.dataset, attempt.task.name, attempt.plugin, attempt.model, attempt.params)
        keys.setdefault(model_key, {}).update(dict.fromkeys(filter(None, [record_of(outcomes, attempt.prediction)])))
    rows = leaderboard[_MODEL].itertuples(index=False, name=None)
    return leaderboard.assign(record=[" ".join(keys.get(row, ())) for row in rows])
