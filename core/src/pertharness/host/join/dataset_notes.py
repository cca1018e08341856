"""What a reader of the leaderboard has to know of the data: targets that are no genes, what is pooled and left out."""

from __future__ import annotations

from collections.abc import Mapping

from pertharness.host.join.left_out import PREFIX
from pertharness.host.leaderboard.tables import Note, shortened
from pertharness.host.nodes import Outcome
from pertharness.host.plan import Plan

_SHOWN = ("targets: ", "guides: ", "pooled: ", "doubles: ")
"""How notes begin that bear on what the numbers mean; the others are in the manifest."""


def notes_by_dataset(plan: Plan, outcomes: Mapping[str, Outcome]) -> dict[str, list[str]]:
    """Return what loading each dataset found and did, of those that were loaded."""
    statuses = {name: outcomes[key].status for name, key in plan.datasets.items() if key in outcomes}
    return {name: list(status.notes) for name, status in statuses.items() if status is not None}


def footer_notes(by_dataset: Mapping[str, list[str]], left_out: Mapping[str, list[str]]) -> list[Note]:
    """Return the lines below all tables, each with the name of its dataset.

    Parameters
    ----------
    by_dataset
        From `notes_by_dataset`.
    left_out
        From `pertharness.host.join.left_out.left_out_by_dataset`.
    """
    lines = {name: [line for line in of_dataset if line.startswith(_SHOWN)] for name, of_dataset in by_dataset.items()}
    for name, of_dataset in left_out.items():
        lines.setdefault(name, []).extend(f"{PREFIX}{line}" for line in of_dataset)
    return [
        Note("", shortened(f"{name}: {line}", "manifest.json"))
        for name, of_dataset in lines.items()
        for line in of_dataset
    ]
