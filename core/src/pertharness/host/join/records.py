"""Which records stand behind a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pertharness.host.execution.nodes import Outcome
from pertharness.host.plan import Plan

if TYPE_CHECKING:
    import pandas as pd

_MODEL = ["dataset", "task", "plugin", "model", "params"]


def record_of(outcomes: Mapping[str, Outcome], *keys: str) -> str:
    """Return the first of the keys that has a record; empty if none has."""
    return next((key for key in keys if key in outcomes and outcomes[key].status is not None), "")


def with_records(leaderboard: pd.DataFrame, plan: Plan, outcomes: Mapping[str, Outcome]) -> pd.DataFrame:
    """Return the leaderboard with a column ``record``: the keys of a row's predictions, with spaces between them.

    They are in the order of split seeds and training seeds; predictions without a record are left out.
    """
    keys: dict[tuple[str, ...], dict[str, None]] = {}
    for one in sorted([*plan.attempts, *plan.duplicates], key=lambda one: (one.seed, one.training_seed)):
        place = (one.dataset, one.task.name, one.plugin, one.model, one.params)
        keys.setdefault(place, {}).update(dict.fromkeys(filter(None, [record_of(outcomes, one.prediction)])))
    rows = leaderboard[_MODEL].itertuples(index=False, name=None)
    return leaderboard.assign(record=[" ".join(keys.get(row, ())) for row in rows])
