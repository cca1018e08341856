"""Scores over the genes that all compared models predict, which is known only when the predictions are there."""

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
    plan: Plan, outcomes: Mapping[str, Outcome], store: Store, known: dict[str, list[str]]
) -> list[Node]:
    """Add the jobs that score the variant ``common-genes``, and return them.

    There are none for a dataset and task in which each model of the common set's list predicts every gene: the variant
    would be the default. If one lacks some in a single split, all splits are scored, so that means are over the same.
    `known` keeps which genes a prediction lacks, by the sha256 of its file, of those that were looked at.
    """
    done = {key for key, outcome in outcomes.items() if outcome.state == "done"}
    lacking: dict[tuple[str, str, int], set[str]] = {}
    for one in plan.attempts:
        if one.prediction in done and one.label in one.task.common_set:
            lacking.setdefault(_place(one), set()).update(_lacked_by(one.prediction, outcomes, store, known))
    affected = {place[:2] for place, genes in lacking.items() if genes}
    added: dict[str, Node] = {}
    for position, one in enumerate(plan.attempts):
        if one.prediction in done and _place(one)[:2] in affected:
            nodes = _common_nodes(plan, one, sorted(lacking.get(_place(one), ())))
            plan.attempts[position] = replace(one, common={name: node.key for name, node in nodes.items()})
            added |= {node.key: node for node in nodes.values()}
    plan.nodes.update(added)
    return list(added.values())


def _lacked_by(key: str, outcomes: Mapping[str, Outcome], store: Store, known: dict[str, list[str]]) -> list[str]:
    """Return the genes that a prediction lacks, which is read unless its content is known."""
    status = outcomes[key].status
    artefact = status.artefacts.get(PREDICTION) if status else None
    path = store.record("predictions", key) / PREDICTION
    if artefact is None:
        return missing_genes(path)
    if artefact.sha256 not in known:
        known[artefact.sha256] = missing_genes(path)
    return known[artefact.sha256]


def missing_genes(path: Path) -> list[str]:
    """Return the genes that a prediction lacks: columns of NaN, so one row tells; the worker has checked the others."""
    import h5py
    import numpy as np

    with h5py.File(path) as file:
        if not file["X"].shape[0]:
            return []
        missing = np.isnan(file["X"][0])
        names = file["var"][file["var"].attrs["_index"]].asstr()[:]
    return [str(name) for name in names[missing]]


def _place(one: Attempt) -> tuple[str, str, int]:
    return one.dataset, one.task.name, one.seed


def _common_nodes(plan: Plan, one: Attempt, lacking: list[str]) -> dict[str, Node]:
    """Return, by scorer, the job that scores an attempt again, told which genes do not count."""
    nodes = {}
    for name, key in one.scores.items():
        if any(COMMON_GENES in metric.variants for metric in plan.scorers[name].metrics):
            node = plan.nodes[key]
            job = node.job.model_copy(update={"options": {**node.job.options, "lacking": lacking}})
            job = job.model_copy(update={"key": key_of(job)})
            nodes[name] = replace(node, job=job, title=f"{node.title} (common genes)")
    return nodes
