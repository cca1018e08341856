"""Notes beside a model's numbers: what is missing, and why the model has no rank or verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pertharness.host.leaderboard.comparison import FEWEST_PERTURBATIONS, TaskSettings, has_test_weights
from pertharness.host.leaderboard.cube import NOT_EXPECTED, STATES, Cube

_OTHER_ANSWERS = "not ranked: scored other splits or answered other queries than the models of the common set"
_TEST_WEIGHTS = "no rank, no verdict: its weights are not the published ones"


def model_notes(
    cube: Cube, inside: np.ndarray, columns: Mapping[str, Any], task: TaskSettings, model_reasons: list[str]
) -> list[str]:
    """Return a note for each model; empty if everything is as expected."""
    labels = [model.label for model in cube.models]
    states = cube.states[:, :, inside]
    compared = "reference" in columns["verdict"]
    notes = []
    for i, label in enumerate(labels):
        n_shared = columns["n_shared"][i]
        parts = [model_reasons[i]]
        parts += [
            f"{(states[i] == code).sum()} {state}"
            for code, state in enumerate(STATES)
            if code and (states[i] == code).any()
        ]
        if has_test_weights(cube.models[i].model):
            parts.append(_TEST_WEIGHTS)
        if (states[i] == NOT_EXPECTED).all():
            parts.append("not scored by this metric")
        if label in task.common_set and not np.isfinite(cube.values[i]).any():
            parts.append("left out of the common set: nothing scored")
        if columns["set"][i] == "own":
            parts.append(_OTHER_ANSWERS if cube.whole_splits else "not ranked: scored only a part of the common set")
        if columns["set"][i] == "" and columns["scored"][i]:
            parts.append("scored nothing of the common set")
        if not cube.whole_splits and columns["verdict"][i] == "undecided" and n_shared < FEWEST_PERTURBATIONS:
            parts.append(f"no verdict: {n_shared:.0f} shared perturbations, {FEWEST_PERTURBATIONS} are needed")
        if not compared and not cube.whole_splits:
            parts.append(_no_reference(labels, task))
        notes.append("; ".join(" ".join(part.split()) for part in parts if part))
    return notes


def _no_reference(labels: list[str], task: TaskSettings) -> str:
    """Return the reason why no model has a verdict."""
    if not task.reference:
        return "no verdict: no reference is named"
    problem = "has no score" if task.reference in labels else "is not in the run"
    return f"no verdict: the reference {task.reference} {problem}"
