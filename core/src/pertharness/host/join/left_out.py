"""List what a run leaves out: rows and perturbations of the data, and perturbations in no part of a split."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pertharness.contract.labels import SEPARATOR
from pertharness.contract.stages import SPLIT
from pertharness.host.execution.nodes import Outcome
from pertharness.host.plan import Plan
from pertharness.host.store.records import Store

PREFIX = "left out: "
"""First words of a dataset's notes that belong to the list."""
_SHOWN = 3


def left_out_by_dataset(
    plan: Plan, outcomes: Mapping[str, Outcome], store: Store, notes: Mapping[str, list[str]]
) -> dict[str, list[str]]:
    """Return what is left out of each dataset, one line per reason; datasets without such lines are absent.

    Parameters
    ----------
    notes
        Notes of loading the datasets, by name.
    """
    lines = {
        name: [line.removeprefix(PREFIX) for line in notes.get(name, ()) if line.startswith(PREFIX)] for name in notes
    }
    for (dataset, task), splits in _splits_by_task(plan, outcomes).items():
        dropped: dict[str, dict[str, None]] = {}
        for key in splits:
            for label, reason in _dropped(store, key).items():
                dropped.setdefault(reason, {})[label] = None
        for reason, labels in dropped.items():
            lines.setdefault(dataset, []).append(_describe(task, [*labels], reason, len(splits)))
    return {name: of_dataset for name, of_dataset in lines.items() if of_dataset}


def _splits_by_task(plan: Plan, outcomes: Mapping[str, Outcome]) -> dict[tuple[str, str], list[str]]:
    """Return the finished splits of each dataset and task, in the order of the plan."""
    splits: dict[tuple[str, str], dict[str, None]] = {}
    for attempt in plan.attempts:
        if attempt.split in outcomes and outcomes[attempt.split].state == "done":
            splits.setdefault((attempt.dataset, attempt.task.name), {})[attempt.split] = None
    return {task_key: [*keys] for task_key, keys in splits.items()}


def _dropped(store: Store, key: str) -> dict[str, str]:
    """Return the perturbations that are in no part of a split, each with the reason.

    Perturbations of three or more targets are ignored; the notes of the dataset name them.
    """
    split: dict[str, Any] = json.loads((store.record("splits", key) / SPLIT).read_text(encoding="utf-8"))
    return {label: reason for label, reason in split["dropped"].items() if label.count(SEPARATOR) < 2}


def _describe(task: str, labels: list[str], reason: str, n_splits: int) -> str:
    """Return the line on the perturbations that the splits of a task drop for one reason."""
    names = ", ".join(map(repr, labels[:_SHOWN])) + (", ..." if len(labels) > _SHOWN else "")
    where = f"in at least one of {n_splits} splits" if n_splits > 1 else "in its split"
    return f"{len(labels)} perturbations ({names}) are in no part of task {task!r}, {where}: {reason}"
