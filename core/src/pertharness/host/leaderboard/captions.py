"""The caption of a table: which metric it shows, and what its means are taken over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pertharness.contract.cards import MetricOffer
from pertharness.host.leaderboard.calibrate import DEFINITION, NO_RANGE
from pertharness.host.leaderboard.comparison import ALPHA, DUPLICATE, Comparison, TaskSettings, model_label

_COUNTED = {"": "prediction", "_perturbations": "perturbation", "_splits": "split"}
Rows = Sequence[Mapping[str, Any]]


def caption(rows: Rows, offer: MetricOffer, task: TaskSettings, comparison: Comparison) -> str:
    """Return the caption of a table."""
    variant = rows[0]["variant"]
    variant_text = "" if variant == offer.variants[0] else f" (variant {variant})"
    summary = f": {offer.summary.rstrip('.')}" if offer.summary else ""
    metric_text = f"{offer.id}{variant_text}{summary}"
    against = f" Verdict: against {task.reference}, at {ALPHA:g} after Holm's correction." if task.reference else ""
    against = "" if offer.level == "task" else against
    over = _averaged(rows, offer, task, comparison) + against + _calibration(rows, task)
    return f"{metric_text}; {offer.direction} is better. {over}"


def _calibration(rows: Rows, task: TaskSettings) -> str:
    """Return the sentence on positions, or on the missing range; empty without calibration."""
    sentences = {
        "yes": f" Position: 0 is {task.reference}, 1 is {DUPLICATE}, {DEFINITION}; by the scores of all against that "
        "other half (value_half), not those against all cells that are shown.",
        "no": f" {NO_RANGE[0].upper()}{NO_RANGE[1:]}.",
    }
    return sentences.get(rows[0].get("range", ""), "")


def _averaged(rows: Rows, offer: MetricOffer, task: TaskSettings, comparison: Comparison) -> str:
    """Return the sentence on what the means are taken over."""
    common = next((row for row in rows if row["set"] == "common"), None)
    if not common:
        scored = "split" if offer.level == "task" else "prediction"
        return f"The common set is empty: no {scored} was scored for all of its models."
    if offer.level == "task":
        return f"Mean over {_many(common['n_splits'], 'split')} ± its standard error over splits."
    number = [_many(common[f"n{of}"], noun) for of, noun in _COUNTED.items()]
    labels = [model_label(row["model"], row["params"]) for row in rows if row["set"] == "common"]
    labels = [label for label in labels if label in task.common_set]
    whose = f"those that {_listed(labels)} answered" if labels else "those that the split holds out"
    over = f"Mean over {number[0]} of {number[1]} in {number[2]}, {whose} (the common set)"
    return f"{over} [{100 * comparison.confidence:g} % interval]."


def _listed(names: list[str]) -> str:
    """Return names joined by commas and a final "and"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _many(number: int, noun: str) -> str:
    """Return a number with its noun in the singular or plural."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
