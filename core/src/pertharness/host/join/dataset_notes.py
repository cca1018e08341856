"""Notes for readers of the leaderboard: how datasets and files of predictions were read."""

from __future__ import annotations

from collections.abc import Mapping

from pertharness.host.execution.nodes import Outcome
from pertharness.host.join.left_out import PREFIX
from pertharness.host.leaderboard.tables import Note, shortened
from pertharness.host.plan import Plan

FILE = "file"
"""Plugin name of predictions that were read from a file."""
_SHOWN = ("targets: ", "guides: ", "pooled: ", "doubles: ")
"""First words of the notes that affect what the numbers mean; the manifest has all notes."""


def notes_by_dataset(plan: Plan, outcomes: Mapping[str, Outcome]) -> dict[str, list[str]]:
    """Return the notes of loading each dataset, by name; datasets that were not loaded are absent."""
    statuses = {name: outcomes[key].status for name, key in plan.datasets.items() if key in outcomes}
    return {name: list(status.notes) for name, status in statuses.items() if status is not None}


def notes_by_file(plan: Plan, outcomes: Mapping[str, Outcome]) -> dict[str, list[str]]:
    """Return the notes of reading each file of predictions, by model; equal notes of several splits appear once."""
    lines: dict[str, dict[str, None]] = {}
    for attempt in plan.attempts:
        outcome = outcomes.get(attempt.prediction) if attempt.plugin == FILE else None
        if outcome is not None and outcome.status is not None:
            lines.setdefault(attempt.label, {}).update(dict.fromkeys(outcome.status.notes))
    return {name: [*of_file] for name, of_file in lines.items() if of_file}


def footer_notes(
    by_dataset: Mapping[str, list[str]], by_file: Mapping[str, list[str]], left_out: Mapping[str, list[str]]
) -> list[Note]:
    """Return the notes below all tables, each with the name of its dataset or of the predicted model.

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
