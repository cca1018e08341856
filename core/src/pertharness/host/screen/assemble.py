"""Assemble all facts of a screen: those found by reading it, and what follows for a run."""

from __future__ import annotations

from collections import Counter

from pertharness.contract.labels import CONTROL, targets_of
from pertharness.host.recipe import Recipe
from pertharness.host.screen.gaps import describe_cells, list_changes, list_gaps
from pertharness.host.screen.inspect_file import Facts
from pertharness.host.screen.tasks import describe_tasks

FORMAT = 1
"""Version of the output of ``data check --json``. Raise it when a key changes its meaning."""


def assemble_facts(file_facts: Facts, name: str) -> Facts:
    """Return the facts of a screen with what follows from them.

    Parameters
    ----------
    file_facts
        From `host.screen.inspect_file` or `host.screen.record`. With an ``error``, tasks, cells and
        gaps are left out.
    name
        Name of the dataset.
    """
    facts: Facts = {"format": FORMAT, "name": name, **file_facts}
    if "perturbations" not in facts:
        return facts
    numbers = Counter(
        len(targets_of(perturbation["genes"]))
        for perturbation in facts["perturbations"]
        if perturbation["genes"] != CONTROL
    )
    facts["n_by_targets"] = {str(n): numbers[n] for n in sorted(numbers)}
    if "error" in facts:
        return facts
    facts["cells"] = describe_cells(facts["perturbations"])
    facts["tasks"] = describe_tasks(facts["perturbations"], Recipe().seeds)
    facts["missing"] = list_gaps(facts)
    facts["changes"] = list_changes(facts)
    return facts
