"""Scores over the genes that all compared models predict, planned once the predictions exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pertharness.contract.scores import COMMON_GENES
from pertharness.contract.stages import PREDICTION
from pertharness.host.execution.nodes import Node, Outcome
from pertharness.host.plan.plan import Attempt, Plan
from pertharness.host.store.keys import key_of
from pertharness.host.store.records import Store


def plan_common_genes(
    plan: Plan, outcomes: Mapping[str, Outcome], store: Store, known_missing: dict[str, list[str]]
) -> list[Node]:
    """Add the jobs that score the variant ``common-genes``, and return them.

    A dataset and task has no such jobs if every model of its common set predicts all genes: the variant would equal the
    default. If a model lacks genes in a single split, all splits are scored, so that means are over the same splits.

    Parameters
    ----------
    plan
        Gets the jobs, and attempts that name them.
    outcomes
        Key -> how the job ended.
    store
        Store of the predictions.
    known_missing
        Sha256 of a prediction's file -> genes that it lacks. Files that are read here are added.
    """
    done = {key for key, outcome in outcomes.items() if outcome.state == "done"}
    lacking: dict[tuple[str, str, int], set[str]] = {}
    for attempt in plan.attempts:
        if attempt.prediction in done and attempt.label in attempt.task.common_set:
            missing = _missing_of(attempt.prediction, outcomes, store, known_missing)
            lacking.setdefault(_split_of(attempt), set()).update(missing)
    affected = {split[:2] for split, genes in lacking.items() if genes}
    added: dict[str, Node] = {}
    for position, attempt in enumerate(plan.attempts):
        if attempt.prediction in done and _split_of(attempt)[:2] in affected:
            nodes = _common_nodes(plan, attempt, sorted(lacking.get(_split_of(attempt), ())))
            plan.attempts[position] = replace(attempt, common={name: node.key for name, node in nodes.items()})
            added |= {node.key: node for node in nodes.values()}
    plan.nodes.update(added)
    return list(added.values())


def _missing_of(
    key: str, outcomes: Mapping[str, Outcome], store: Store, known_missing: dict[str, list[str]]
) -> list[str]:
    """Return the genes that a prediction lacks; read its file only if its sha256 is not in `known_missing`."""
    status = outcomes[key].status
    artefact = status.artefacts.get(PREDICTION) if status else None
    path = store.record("predictions", key) / PREDICTION
    if artefact is None:
        return missing_genes(path)
    if artefact.sha256 not in known_missing:
        known_missing[artefact.sha256] = missing_genes(path)
    return known_missing[artefact.sha256]


def missing_genes(path: Path) -> list[str]:
    """Return the genes that a prediction lacks.

    They are columns of NaN, so the first row is enough: the worker has checked the others.
    """
    import h5py
    import numpy as np

    with h5py.File(path) as file:
        if not file["X"].shape[0]:
            return []
        missing = np.isnan(file["X"][0])
        names = file["var"][file["var"].attrs["_index"]].asstr()[:]
    return [str(name) for name in names[missing]]


def _split_of(attempt: Attempt) -> tuple[str, str, int]:
    return attempt.dataset, attempt.task.name, attempt.seed


def _common_nodes(plan: Plan, attempt: Attempt, lacking: list[str]) -> dict[str, Node]:
    """Return, by scorer, the job that scores an attempt again without the genes in `lacking`."""
    nodes = {}
    for name, key in attempt.scores.items():
        if any(COMMON_GENES in metric.variants for metric in plan.scorers[name].metrics):
            node = plan.nodes[key]
            job = node.job.model_copy(update={"options": {**node.job.options, "lacking": lacking}})
            job = job.model_copy(update={"key": key_of(job)})
            nodes[name] = replace(node, job=job, title=f"{node.title} (common genes)")
    return nodes
