"""The jobs before any model: datasets and splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pertharness.contract.errors import DataError, PertharnessError, RecipeError
from pertharness.contract.options import DatasetOptions
from pertharness.contract.stages import DATASET, PSEUDOBULK, SPLIT
from pertharness.data.label_map import read_label_map
from pertharness.files.whole import canonical_json, sha256_file, sha256_text
from pertharness.host.plan.inputs import Input
from pertharness.host.plan.plan import Source
from pertharness.host.plan.planner import Planner, find_offer, with_defaults
from pertharness.host.plan.split_jobs import make_split_writer
from pertharness.host.recipe import TaskChoice as Task
from pertharness.host.recipe.models import LABEL_MAP


def plan_dataset(planner: Planner, name: str, source: Source) -> str:
    """Add the job that loads a dataset and return its key; without a file, the job fails with the reason."""
    entry = planner.recipe.datasets[name]
    offered = find_offer(planner.registry.datasets, entry.offer, "dataset")
    params = _with_label_map(with_defaults(offered.offer, entry.params, f"datasets.{name}.params"), name)
    return planner.add_job(
        "datasets", offered.plugin, [Input("source", None, source.path, source.sha256)], title=f"dataset {name}",
        name=offered.offer.name, params=params, options=DatasetOptions(dataset=name).written(),
        cheap=offered.offer.cheap, prepare=_refusal(source.problem) if source.problem else None,
    )  # fmt: skip


def _with_label_map(params: dict[str, Any], name: str) -> dict[str, Any]:
    """Return parameters with the content of a label map in place of its path: a record depends only on the content.

    Raises
    ------
    RecipeError
        If the file cannot be read as a label map.
    """
    if not isinstance(params.get(LABEL_MAP), str):
        return params
    try:
        return {**params, LABEL_MAP: read_label_map(Path(params[LABEL_MAP]))}
    except DataError as error:
        raise RecipeError(f"dataset {name!r}: {error}") from error


def plan_split(planner: Planner, task: Task, seed: int, level: str) -> str:
    """Add the job that lays out train and val, as ``cells`` or as ``pseudobulk``, and return its key."""
    split = (id(task), seed, level)
    if split not in planner.splits:
        planner.splits[split] = task, _plan_split(planner, task, seed, level)
    return planner.splits[split][1]


def _plan_split(planner: Planner, task: Task, seed: int, level: str) -> str:
    """Add the job of a split, and return its key."""
    dataset, file = planner.plan.datasets[str(task.dataset)], task.split.file
    rule = {
        "kind": task.split.kind, "variant": task.split.variant, "params": task.split.params, "seed": seed,
        "file": sha256_file(file) if file else "", "level": level,
    }  # fmt: skip
    inputs = [
        planner.from_record("dataset", "datasets", dataset, DATASET if level == "cells" else PSEUDOBULK),
        Input("drawn", None, Path(SPLIT), sha256_text(canonical_json(rule)), key_role="split"),
    ]
    return planner.add_job(
        "splits", None, inputs, name=task.split.kind, cheap=level != "cells",
        title=f"split {task.dataset} {task.name} seed {seed}" + (" (cells)" if level == "cells" else ""),
        prepare=make_split_writer(planner.store.record("datasets", dataset), task, seed),
    )  # fmt: skip


def plan_halves(planner: Planner, name: str) -> str:
    """Add the job that halves the cells of a dataset's perturbations, and return its key."""
    dataset = planner.from_record("dataset", "datasets", planner.plan.datasets[name], DATASET)
    title = f"halves of the cells of {name}"
    return planner.add_job("halves", None, [dataset], title=title, seed=planner.recipe.comparison.seed)


def _refusal(problem: str) -> Any:
    def refuse(_: Path) -> None:
        raise PertharnessError(problem)

    return refuse
