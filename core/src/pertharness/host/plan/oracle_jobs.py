"""The job that writes observed values of held-out cells, and who gets them: models whose cards declare an oracle."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pertharness.contract.cards import ModelOffer
from pertharness.contract.jobs import GENE_LIST, ORACLE_ROLE, WEIGHTS
from pertharness.contract.options import OracleOptions
from pertharness.contract.stages import DATASET, FACTS, ORACLE, SPLIT
from pertharness.host.plan.inputs import Input
from pertharness.host.plan.needed_files import OfferFiles
from pertharness.host.plan.planner import Planner
from pertharness.host.recipe import TaskChoice as Task

NO_CELLS = (
    "is given observed values of single held-out cells (an oracle), and the dataset has only one mean per perturbation"
)
NO_TRUTH = (
    "is given observed values of held-out cells (an oracle), and there are none of what was never measured; it can "
    "predict only what a run holds out"
)


def has_oracle(offer: ModelOffer) -> bool:
    """Return whether a model is given observed values of held-out cells."""
    return offer.oracle is not None


def why_denied(planner: Planner, offer: ModelOffer) -> str:
    """Return why a recipe leaves out a model with an oracle; empty if it does not."""
    if planner.recipe.oracle or not has_oracle(offer):
        return ""
    return "is given observed values of held-out cells (an oracle), which oracle = false denies"


def why_no_oracle(planner: Planner, offer: ModelOffer, dataset: str, queries: Sequence[str]) -> str | None:
    """Return why a model cannot have its oracle, or None; `queries`: those of a user, if these are what it predicts."""
    if not has_oracle(offer):
        return None
    if queries:
        return NO_TRUTH
    return None if facts_of(planner, dataset).get("level") == "cells" else NO_CELLS


def plan_oracle(
    planner: Planner, task: Task, split: str, offer: ModelOffer, params: Mapping[str, Any], weights: OfferFiles,
    files: Sequence[Input], score_on: Sequence[str],
) -> list[Input]:  # fmt: skip
    """Add the job that observes the held-out cells for a model, and return its file as an input of the model's job.

    Models with one gene list, or with none, share it. A model without an oracle has no such input.

    Parameters
    ----------
    split
        Key of the split, of level pseudobulk whatever the model is fitted to: of it only the labels are read.
    weights, files
        The files of the offer, and those that its parameters name: the gene list is one of them.
    score_on
        Parts of the split whose perturbations the model is asked to predict.
    """
    if not has_oracle(offer):
        return []
    dataset = str(task.dataset)
    inputs = [
        planner.from_record("dataset", "datasets", planner.plan.datasets[dataset], DATASET),
        planner.from_record("split", "splits", split, SPLIT),
    ]
    listed = None if offer.gene_list is None else _gene_list(offer, params, [*weights.inputs(), *files])
    key = planner.add_job(
        "oracles", None, [*inputs, *([listed] if listed else [])],
        options=OracleOptions(score_on=tuple(score_on)).written(),
        title=f"observed targets of {dataset} {task.name}" + (f" ({offer.gene_list})" if listed else ""),
        preflight=_preflight(planner, offer, dataset, weights if listed and listed.file is None else None),
        prepare=weights.prepare if listed and listed.file is None else None,
    )  # fmt: skip
    return [planner.from_record(ORACLE_ROLE, "oracles", key, ORACLE)]


def _gene_list(offer: ModelOffer, params: Mapping[str, Any], files: Sequence[Input]) -> Input:
    """Return the model's gene list as an input: the file that a parameter names in its place, or its own."""
    replaced_by = [
        name for name, names in offer.replaces_weights.items() if params.get(name) and offer.gene_list in names
    ]
    role = f"file {replaced_by[0]}" if replaced_by else f"{WEIGHTS}{offer.gene_list}"
    return replace(next(each for each in files if each.role == role), role=GENE_LIST, key_role="")


def _preflight(
    planner: Planner, offer: ModelOffer, dataset: str, missing: OfferFiles | None
) -> Callable[[], str | None]:
    """Return a function that returns why there is nothing to observe, or no gene list to count by."""

    def reason() -> str | None:
        return why_no_oracle(planner, offer, dataset, ()) or (missing.lacks if missing else None)

    return reason


def facts_of(planner: Planner, dataset: str) -> dict[str, Any]:
    """Return the facts in a dataset's record on its size and level."""
    path = planner.store.record("datasets", planner.plan.datasets[dataset]) / FACTS
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return facts
