"""What a reader has to know beside a model's numbers: what is missing, and why there is no rank or verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pertharness.host.leaderboard.cube import NOT_EXPECTED, STATES, Cube
from pertharness.host.leaderboard.settings import FEWEST_PERTURBATIONS, TaskSettings

_OTHER_ANSWERS = "scored other splits, or answered other queries, than the models of the common set, so without a rank"


def tell(cube: Cube, inside: np.ndarray, columns: Mapping[str, Any], task: TaskSettings, why: list[str]) -> list[str]:
    """Return a note for each model, empty where there is nothing to say."""
    labels = [model.label for model in cube.models]
    states = cube.states[:, :, inside]
    compared = "reference" in columns["verdict"]
    notes = []
    for i, label in enumerate(labels):
        n_shared = columns["n_shared"][i]
        told = [why[i]]
        told += [
            f"{(states[i] == code).sum()} {state}"
            for code, state in enumerate(STATES)
            if code and (states[i] == code).any()
        ]
        if (states[i] == NOT_EXPECTED).all():
            told.append("not asked for this metric")
        if label in task.common_set and not np.isfinite(cube.values[i]).any():
            told.append("nothing scored, so left out of the common set")
        if columns["set"][i] == "own":
            told.append(_OTHER_ANSWERS if cube.whole_splits else "scored a part of the common set, so without a rank")
        if columns["set"][i] == "" and columns["scored"][i]:
            told.append("scored nothing of the common set")
        if not cube.whole_splits and columns["verdict"][i] == "undecided" and n_shared < FEWEST_PERTURBATIONS:
            told.append(f"perturbations shared: {n_shared:.0f}, for a verdict {FEWEST_PERTURBATIONS} are needed")
        if not compared and not cube.whole_splits:
            told.append(_no_reference(labels, task))
        notes.append("; ".join(" ".join(part.split()) for part in told if part))
    return notes


def _no_reference(labels: list[str], task: TaskSettings) -> str:
    """Return why there is no verdict."""
    if not task.reference:
        return "no reference is named, so no verdict"
    has = "has no score" if task.reference in labels else "is not in the run"
    return f"the reference {task.reference} {has}, so no verdict"
