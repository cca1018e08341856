"""The jobs before any model: datasets and splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pertharness.contract.errors import DataError, PertharnessError, RecipeError
from pertharness.contract.stages import DATASET, PSEUDOBULK, SPLIT
from pertharness.data.label_map import read_label_map
from pertharness.files.whole import canonical_json, sha256_file, sha256_text
from pertharness.host.plan.plan import Source
from pertharness.host.plan.planner import Planner, find_offer, with_defaults
from pertharness.host.plan.split_jobs import make_split_writer
from pertharness.host.recipe import TaskChoice as Task
from pertharness.host.recipe.models import LABEL_MAP


def plan_dataset(planner: Planner, name: str, source: Source) -> str:
    """Add the job that loads a dataset and give its key; where its file is not to be had, the job says so."""
    entry = planner.recipe.datasets[name]
    offered = find_offer(planner.registry.datasets, entry.offer, "dataset")
    params = _with_label_map(with_defaults(offered.offer, entry.params, f"datasets.{name}.params"), name)
    inputs = {"source": source.path} if source.path else {}
    job = planner.job(
        "datasets", offered.plugin, inputs={"source": source.sha256}, name=offered.offer.name, params=params,
        options={"dataset": name},
    ).model_copy(update={"inputs": inputs})  # fmt: skip
    return planner.node(
        job,
        offered.plugin,
        title=f"dataset {name}",
        cheap=offered.offer.cheap,
        prepare=_refusal(source.problem) if source.problem else None,
        sums={"source": source.sha256},
    )


def _with_label_map(params: dict[str, Any], name: str) -> dict[str, Any]:
    """Return parameters with what a label map says in place of its path: a record depends on that alone.

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
    place = (id(task), seed, level)
    if place not in planner.splits:
        planner.splits[place] = task, _plan_split(planner, task, seed, level)
    return planner.splits[place][1]


def _plan_split(planner: Planner, task: Task, seed: int, level: str) -> str:
    """Add the job of a split, and return its key."""
    dataset = planner.plan.datasets[str(task.dataset)]
    file = task.split.file
    given = {"kind": task.split.kind, "variant": task.split.variant, "params": task.split.params, "seed": seed}
    said = {**given, "file": sha256_file(file) if file else "", "level": level}
    job = planner.job(
        "splits", None, inputs={"dataset": dataset, "split": sha256_text(canonical_json(said))}, name=task.split.kind
    )
    folder = planner.store.record("datasets", dataset)
    wanted = folder / (DATASET if level == "cells" else PSEUDOBULK)
    job = job.model_copy(update={"inputs": {"dataset": wanted, "drawn": planner.store.work(job.key) / SPLIT}})
    title = f"split {task.dataset} {task.name} seed {seed}" + (" (cells)" if level == "cells" else "")
    writer = make_split_writer(folder, task, seed)
    return planner.node(job, None, needs=(dataset,), title=title, prepare=writer, cheap=level != "cells")


def plan_halves(planner: Planner, name: str) -> str:
    """Add the job that halves the cells of a dataset's perturbations, and give its key."""
    dataset = planner.plan.datasets[name]
    job = planner.job("halves", None, inputs={"dataset": dataset}, seed=planner.recipe.comparison.seed)
    path = planner.store.record("datasets", dataset) / DATASET
    job = job.model_copy(update={"inputs": {"dataset": path}})
    return planner.node(job, None, needs=(dataset,), title=f"halves of the cells of {name}")


def _refusal(problem: str) -> Any:
    def refuse(_: Path) -> None:
        raise PertharnessError(problem)

    return refuse
