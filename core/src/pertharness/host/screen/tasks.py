"""Find which tasks a screen allows and how much each can show, from the labels and the splits that a run draws."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pertharness.contract.errors import SplitError
from pertharness.contract.labels import CONTROL, targets_of
from pertharness.host.leaderboard.comparison import FEWEST_PERTURBATIONS
from pertharness.host.run.quick import SPLITS
from pertharness.host.splits import Labelled, make_split

N_TARGETS = {"double": 2, "single": 1}
"""Task -> number of targets of the perturbations that it holds out."""
_NORMAL = 1.96
"""Half the width of a 95 % interval in standard errors."""


def describe_tasks(perturbations: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Return the facts on what each task of ``run --all`` holds out of a screen.

    Parameters
    ----------
    perturbations
        Rows with ``perturbation``, ``label_given`` and ``genes``, with the control.
    seeds
        Seeds of the splits.

    Returns
    -------
    dict
        Task -> ``n_perturbations``: those with the task's number of targets; ``n_answerable``: for doubles, those that
        `additive` can answer; ``problem``: the reason why no split can be drawn, else None; ``n_test``: number in the
        test part of one split (least and most over the seeds); ``n_held_out``: different ones over all seeds;
        ``n_held_out_answerable``; ``seeds``; ``n_needed``: number for a verdict; ``enough``: whether `n_held_out`
        reaches it; ``resolution``: smallest mean difference between two models that shows, in standard deviations of
        the difference between perturbations.
    """
    labels = [
        Labelled(row["perturbation"], row["label_given"], _other(row["genes"], row["perturbation"]))
        for row in perturbations
    ]
    return {task: _describe_task(task, labels, seeds) for task in SPLITS}


def _other(genes: str, perturbation: str) -> str:
    """Return the genes of a perturbation's guides; empty where its targets are genes."""
    return "" if genes == perturbation else genes


def _describe_task(task: str, labels: Sequence[Labelled], seeds: Sequence[int]) -> dict[str, Any]:
    """Draw the splits of a task, and count what they hold out."""
    eligible = [labelled.perturbation for labelled in labels if len(labelled.genes) == N_TARGETS[task]]
    measured = {labelled.perturbation for labelled in labels if labelled.perturbation != CONTROL}
    answerable = {label for label in eligible if _has_singles(label, measured)} if task == "double" else {*eligible}
    described: dict[str, Any] = {
        "n_perturbations": len(eligible),
        "n_answerable": len(answerable) if task == "double" else None,
        "problem": None,
        "seeds": list(seeds),
        "n_needed": FEWEST_PERTURBATIONS,
    }
    try:
        tests = [make_split(labels, seed=seed, **SPLITS[task]).test for seed in seeds]
    except SplitError as error:
        tests, described["problem"] = [], str(error)
    held_out = {label for test in tests for label in test}
    n_held_out = len(held_out)
    return described | {
        "n_test": [min(map(len, tests)), max(map(len, tests))] if tests else [0, 0],
        "n_held_out": n_held_out,
        "n_held_out_answerable": len(held_out & answerable) if task == "double" else None,
        "enough": n_held_out >= FEWEST_PERTURBATIONS,
        "resolution": round(_NORMAL / n_held_out**0.5, 2) if n_held_out >= FEWEST_PERTURBATIONS else None,
    }


def _has_singles(label: str, measured: Collection[str]) -> bool:
    """Return whether each target of a perturbation was also perturbed alone."""
    return all(target in measured for target in targets_of(label))
