"""What every job cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pertharness.host.nodes import Outcome
from pertharness.host.plan import Plan


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
