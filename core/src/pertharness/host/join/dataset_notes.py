"""What a reader of the leaderboard has to know of the data, and of files of predictions: how they were read."""

from __future__ import annotations

from collections.abc import Mapping

from pertharness.host.execution.nodes import Outcome
from pertharness.host.join.left_out import PREFIX
from pertharness.host.leaderboard.tables import Note, shortened
from pertharness.host.plan import Plan

FILE = "file"
"""Stands where the plugin does of predictions that were made elsewhere."""
_SHOWN = ("targets: ", "guides: ", "pooled: ", "doubles: ")
"""How notes begin that bear on what the numbers mean; the others are in the manifest."""


def notes_by_dataset(plan: Plan, outcomes: Mapping[str, Outcome]) -> dict[str, list[str]]:
    """Return what loading each dataset found and did, of those that were loaded."""
    statuses = {name: outcomes[key].status for name, key in plan.datasets.items() if key in outcomes}
    return {name: list(status.notes) for name, status in statuses.items() if status is not None}


def notes_by_file(plan: Plan, outcomes: Mapping[str, Outcome]) -> dict[str, list[str]]:
    """Return how each file of predictions was read, by the name of its model; each line once for all splits."""
    lines: dict[str, dict[str, None]] = {}
    for attempt in plan.attempts:
        outcome = outcomes.get(attempt.prediction) if attempt.plugin == FILE else None
        if outcome is not None and outcome.status is not None:
            lines.setdefault(attempt.label, {}).update(dict.fromkeys(outcome.status.notes))
    return {name: [*of_file] for name, of_file in lines.items() if of_file}


def footer_notes(
    by_dataset: Mapping[str, list[str]], by_file: Mapping[str, list[str]], left_out: Mapping[str, list[str]]
) -> list[Note]:
    """Return the lines below all tables, each with the name of its dataset, or of the model of a file.

    Parameters
    ----------
    by_dataset, by_file
        From `notes_by_dataset` and `notes_by_file`.
    left_out
        From `pertharness.host.join.left_out.left_out_by_dataset`.
    """
    lines = {name: [line for line in of_dataset if line.startswith(_SHOWN)] for name, of_dataset in by_dataset.items()}
    for name, of_dataset in left_out.items():
        lines.setdefault(name, []).extend(f"{PREFIX}{line}" for line in of_dataset)
    lines |= {f"predictions {name}": [*of_file] for name, of_file in by_file.items()}
    return [
        Note("", shortened(f"{name}: {line}", "manifest.json"))
        for name, of_dataset in lines.items()
        for line in of_dataset
    ]
