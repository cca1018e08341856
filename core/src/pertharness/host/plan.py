"""The plan: the jobs of a recipe with their keys, all known before any of them runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from pertharness.cards import DatasetOffer, EmbeddingOffer, ModelOffer, ScorerOffer
from pertharness.errors import PertharnessError, RecipeError
from pertharness.files import canonical_json, sha256_file, sha256_text
from pertharness.hookspecs import PROTOCOL
from pertharness.host.did_you_mean import expected
from pertharness.host.hardware import missing_hardware
from pertharness.host.leaderboard.settings import model_label
from pertharness.host.nodes import Node
from pertharness.host.recipe import ModelSpec, PredictionChoice, Recipe, parse_model
from pertharness.host.recipe import TaskChoice as Task
from pertharness.host.registry import Offered, Plugin, Registry
from pertharness.host.split_job import make_split_writer, queries_of, split_label
from pertharness.host.store import Store
from pertharness.jobs import Job, PluginRef, Stage, State
from pertharness.jobs import Task as JobTask


@dataclass(frozen=True)
class Attempt:
    """One model on one task, with one split seed and one training seed.

    Attributes
    ----------
    plugin, model, params
        As they stand on the leaderboard; ``params`` are those that are not defaults.
    prediction
        Key of its prediction; empty where there is none to be had, for the `reason`.
    scores
        Scorer -> key.
    """

    dataset: str
    task: Task
    seed: int
    training_seed: int
    plugin: str
    model: str
    params: str
    split: str
    prediction: str = ""
    scores: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    state: State = "skipped"
    """With a `reason`: what is wrong with the model itself."""
    uses_validation: bool = False

    @property
    def label(self) -> str:
        """The model's name on the leaderboard."""
        return model_label(self.model, self.params)


@dataclass
class Plan:
    """Jobs in an order in which each comes after what it needs, and the attempts that they serve."""

    nodes: dict[str, Node] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    datasets: dict[str, str] = field(default_factory=dict)
    """Name -> key."""
    scorers: dict[str, ScorerOffer] = field(default_factory=dict)

    def add(self, node: Node) -> str:
        """Add a node unless it is there, and give its key."""
        self.nodes.setdefault(node.key, node)
        return node.key


Scorers = Sequence[tuple[Offered[ScorerOffer], Mapping[str, Any]]]


@dataclass(frozen=True)
class Source:
    """A dataset's file, with its content's sha256; or why there is none."""

    path: Path | None = None
    sha256: str = ""
    problem: str = ""


@dataclass(frozen=True)
class _Planner:
    """What every step of the planning needs."""

    recipe: Recipe
    registry: Registry
    store: Store
    plan: Plan

    def job(self, stage: Stage, plugin: Plugin | None, *, inputs: Mapping[str, str], **fields: Any) -> Job:
        """Give a job with its key; `inputs` are the keys and hashes of all that it reads."""
        ref = plugin.ref if plugin else PluginRef(name="pertharness", module="pertharness", version="")
        # Splitting and reading predictions are done by the core's own worker side, whose hash is in every environment.
        identity = plugin.identity() if plugin else {"environment": _core(self.registry).environment}
        named = ("name", "params", "seed", "task", "options")
        said = {name: _plain(value) for name, value in fields.items() if name in named}
        key = sha256_text(canonical_json({
            "stage": stage, "protocol": PROTOCOL, "plugin": identity, "inputs": dict(inputs), **said,
            "device": self.recipe.resources.device.split(":")[0], "threads": self.recipe.resources.threads,
        }))  # fmt: skip
        resources = self.recipe.resources
        return Job(key=key, stage=stage, plugin=ref, device=resources.device, threads=resources.threads, **fields)

    def node(self, job: Job, plugin: Plugin | None, **fields: Any) -> str:
        """Add a node for a job and give its key."""
        resources = self.recipe.resources
        python = (plugin or _core(self.registry)).python
        # Without a limit of the user's: before the system starts to end processes of its own choice.
        memory_mb = resources.memory_mb or 0.9 * psutil.virtual_memory().total / 1e6
        return self.plan.add(Node(job=job, python=python, timeout_s=resources.timeout_s, memory_mb=memory_mb, **fields))


def build_plan(recipe: Recipe, registry: Registry, store: Store, sources: Mapping[str, Source]) -> Plan:
    """Give the plan of a recipe.

    Parameters
    ----------
    recipe
        What is wanted.
    registry
        What is installed.
    store
        Where records lie; only paths are taken from it, so the plan is the same whatever it holds.
    sources
        Dataset name -> its file.

    Raises
    ------
    RecipeError
        If a dataset, scorer or parameter is not to be had.
    """
    planner = _Planner(recipe, registry, store, Plan())
    for name in recipe.datasets:
        planner.plan.datasets[name] = _plan_dataset(planner, name, sources.get(name, Source()))
    scorers = _plan_scorers(planner)
    specs = recipe.models or tuple(ModelSpec(None, name) for name in registry.models)
    for task in tasks_of(recipe):
        for seed in recipe.seeds if task.split.file is None else (0,):
            for spec in specs:
                _plan_model(planner, task, seed, spec, scorers)
            for entry in recipe.predictions:
                if entry.dataset == task.dataset:
                    _plan_file(planner, task, seed, entry, scorers)
            _plan_problems(planner, task, seed)
    return planner.plan


def tasks_of(recipe: Recipe) -> list[Task]:
    """Give the tasks of a recipe, each with its dataset; one that names none is posed for all."""
    return [
        task.model_copy(update={"dataset": name})
        for task in recipe.tasks
        for name in ([task.dataset] if task.dataset else recipe.datasets)
    ]


def _plan_scorers(planner: _Planner) -> list[tuple[Offered[ScorerOffer], dict[str, Any]]]:
    """Give the scorers of the recipe with their parameters."""
    found = planner.registry.scorers
    specs = planner.recipe.scorers or tuple(ModelSpec(None, name) for name in found)
    chosen = [(_find(found, spec.name, "scorer"), spec) for spec in specs]
    if len({one.offer.name for one, _ in chosen}) < len(chosen):
        raise RecipeError(
            "scorers: one scorer is there twice; its scores could not be told apart: run it once per recipe"
        )
    planner.plan.scorers.update({one.offer.name: one.offer for one, _ in chosen})
    return [(one, _with_defaults(one.offer, spec.params, spec.text())) for one, spec in chosen]


def _plan_dataset(planner: _Planner, name: str, source: Source) -> str:
    entry = planner.recipe.datasets[name]
    offered = _find(planner.registry.datasets, entry.offer, "dataset")
    params = _with_defaults(offered.offer, entry.params, f"datasets.{name}.params")
    inputs = {"source": source.path} if source.path else {}
    job = planner.job(
        "datasets", offered.plugin, inputs={"source": source.sha256}, name=offered.offer.name, params=params,
        options={"dataset": name},
    ).model_copy(update={"inputs": inputs})  # fmt: skip
    return planner.node(
        job, offered.plugin, title=f"dataset {name}", prepare=_refusal(source.problem) if source.problem else None
    )


def _plan_split(planner: _Planner, task: Task, seed: int, level: str) -> str:
    """Add the job that lays out train and val, as ``cells`` or as ``pseudobulk``, and give its key."""
    dataset = planner.plan.datasets[str(task.dataset)]
    file = task.split.file
    given = {"kind": task.split.kind, "variant": task.split.variant, "params": task.split.params, "seed": seed}
    said = {**given, "file": sha256_file(file) if file else "", "level": level}
    job = planner.job(
        "splits", None, inputs={"dataset": dataset, "split": sha256_text(canonical_json(said))}, name=task.split.kind
    )
    folder = planner.store.record("datasets", dataset)
    wanted = folder / ("dataset.h5ad" if level == "cells" else "pseudobulk.h5ad")
    job = job.model_copy(update={"inputs": {"dataset": wanted}})
    title = f"split {task.dataset} {task.name} seed {seed}" + (" (cells)" if level == "cells" else "")
    writer = make_split_writer(folder, task, seed)
    return planner.node(job, None, needs=(dataset,), title=title, prepare=writer, cheap=level != "cells")


def _plan_model(planner: _Planner, task: Task, seed: int, spec: ModelSpec, scorers: Scorers) -> None:
    split = _plan_split(planner, task, seed, "pseudobulk")
    offered = find_model(planner.registry, spec)
    if offered is None:
        reason = f"not installed: {spec.text()!r}; {expected(spec.name, planner.registry.models)}"
        for training_seed in planner.recipe.training_seeds:
            _add_attempt(planner, task, seed, training_seed, spec.plugin or "", spec, split, reason=reason)
        return
    offer = offered.offer
    params = _with_defaults(offer, spec.params, spec.text())
    changed = {name: value for name, value in params.items() if value != offer.params[name]}
    for training_seed in planner.recipe.training_seeds[: 1 if offer.deterministic else None]:
        prediction = _plan_prediction(planner, task, seed, training_seed, spec, offered, params, split)
        _add_attempt(
            planner, task, seed, training_seed, offered.plugin.ref.name,
            ModelSpec(None, spec.name, spec.slots, changed), split, prediction=prediction,
            scores=_plan_scores(planner, task, seed, split, prediction, spec.text(), scorers),
            uses_validation=offer.uses_validation,
        )  # fmt: skip


def _plan_prediction(
    planner: _Planner, task: Task, seed: int, training_seed: int, spec: ModelSpec, offered: Offered[ModelOffer],
    params: Mapping[str, Any], split: str,
) -> str:  # fmt: skip
    """Add the job that fits a model and predicts, after those that make its embeddings, and give its key."""
    offer, plugin = offered.offer, offered.plugin
    if offer.input == "cells":
        split = _plan_split(planner, task, seed, "cells")
    where = f"{task.dataset} {task.name} seed {seed}"
    references = {name: planner.plan.datasets[name] for name in task.references}
    embeddings = _plan_embeddings(planner, spec, offer, split, training_seed, where)
    job = planner.job(
        "predictions", plugin, inputs={"split": split, **references, **embeddings}, name=offer.name, params=params,
        seed=training_seed, task=_job_task(task, seed), options={"score_on": list(task.score_on)},
    )  # fmt: skip
    record = planner.store.record
    parts = {"train": "train.h5ad", **({"val": "val.h5ad"} if offer.uses_validation else {}), "split": "split.json"}
    level = "dataset.h5ad" if offer.input == "cells" else "pseudobulk.h5ad"
    files = {
        "inputs": {role: record("splits", split) / file for role, file in parts.items()},
        "references": {name: record("datasets", key) / level for name, key in references.items()},
        "embeddings": {slot: record("embeddings", key) / "embedding.csv" for slot, key in embeddings.items()},
    }
    return planner.node(
        job.model_copy(update=files), plugin, needs=(split, *references.values(), *embeddings.values()),
        title=f"{offer.name} on {where}", cheap=offer.cheap, preflight=_preflight(planner, offer, split, task),
    )  # fmt: skip


def _plan_embeddings(
    planner: _Planner, spec: ModelSpec, offer: ModelOffer, split: str, seed: int, where: str
) -> dict[str, str]:
    """Add the jobs that make a model's embeddings, such as ``G=embed:NAME``, and give their keys by slot."""
    keys = {}
    for slot, written in spec.slots.items():
        if slot not in offer.slots:
            raise RecipeError(f"{spec.text()!r}: {offer.name!r} has no slot {slot!r}; {expected(slot, offer.slots)}")
        maker, _, name = written.partition(":")
        if maker != "embed":
            raise RecipeError(f"{spec.text()!r}: {written!r} is not an embedding; expected embed:NAME")
        made = parse_model(name)
        found = _find(planner.registry.embeddings, made.name, "embedding")
        if offer.slots[slot] not in found.offer.kinds:
            raise RecipeError(
                f"{spec.text()!r}: {made.name!r} gives no {offer.slots[slot]} embedding, which {slot!r} needs"
            )
        job = planner.job(
            "embeddings", found.plugin, inputs={"split": split}, name=found.offer.name, seed=seed,
            params=_with_defaults(found.offer, made.params, written), options={"kind": offer.slots[slot]},
        )  # fmt: skip
        folder = planner.store.record("splits", split)
        files = {"split": folder / "split.json", "train": folder / "train.h5ad"}
        job = job.model_copy(update={"inputs": files})
        keys[slot] = planner.node(job, found.plugin, needs=(split,), title=f"embedding {made.name} on {where}")
    return keys


def _add_attempt(
    planner: _Planner,
    task: Task,
    seed: int,
    training_seed: int,
    plugin: str,
    spec: ModelSpec,
    split: str,
    **fields: Any,
) -> None:
    params = spec.text().removeprefix(spec.name).strip("[]") if not spec.plugin else ""
    planner.plan.attempts.append(
        Attempt(str(task.dataset), task, seed, training_seed, plugin, spec.name, params, split, **fields)
    )


def find_model(registry: Registry, spec: ModelSpec) -> Offered[ModelOffer] | None:
    """Give the installed model that is meant, or None."""
    if spec.plugin is None:
        return registry.models.get(spec.name)
    found = registry.models.get(f"{spec.plugin}/{spec.name}") or registry.models.get(spec.name)
    return found if found is not None and found.plugin.ref.name == spec.plugin else None


def _plan_problems(planner: _Planner, task: Task, seed: int) -> None:
    """Let plugins that cannot be used be seen on the leaderboard, where every installed model was asked for."""
    for problem in planner.registry.problems if planner.recipe.models is None else ():
        split = _plan_split(planner, task, seed, "pseudobulk")
        spec = ModelSpec(None, problem.plugin)
        _add_attempt(planner, task, seed, 1, problem.plugin, spec, split, reason=problem.message, state=problem.state)


def _plan_file(planner: _Planner, task: Task, seed: int, entry: PredictionChoice, scorers: Scorers) -> None:
    """Add a prediction that was made elsewhere: read instead of computed, scored like any other."""
    split = _plan_split(planner, task, seed, "pseudobulk")
    folder = planner.store.record("splits", split)
    job = planner.job(
        "predictions", None, inputs={"split": split, "file": sha256_file(entry.file)}, name=entry.name,
        options={"score_on": list(task.score_on)},
    ).model_copy(
        update={"inputs": {"split": folder / "split.json", "train": folder / "train.h5ad", "file": entry.file}}
    )  # fmt: skip
    prediction = planner.node(
        job, None, needs=(split,), title=f"{entry.name} (file) on {task.dataset} {task.name}", cheap=True
    )
    scores = _plan_scores(planner, task, seed, split, prediction, entry.name, scorers)
    _add_attempt(
        planner, task, seed, 1, "file", ModelSpec(None, entry.name), split, prediction=prediction, scores=scores
    )


def _plan_scores(
    planner: _Planner, task: Task, seed: int, split: str, prediction: str, label: str, scorers: Scorers
) -> dict[str, str]:
    keys = {}
    for scorer, params in scorers:
        name = scorer.offer.name
        dataset = planner.plan.datasets[str(task.dataset)]
        references = {other: planner.plan.datasets[other] for other in task.references}
        needs = {"dataset": dataset, "split": split, "prediction": prediction, **references}
        job = planner.job(
            "scores", scorer.plugin, inputs=needs, name=name, params=params, task=_job_task(task, seed),
            options={"score_on": list(task.score_on), "offer": scorer.offer.model_dump(mode="json")},
        )  # fmt: skip
        files = {
            "pseudobulk": planner.store.record("datasets", dataset) / "pseudobulk.h5ad",
            "split": planner.store.record("splits", split) / "split.json",
            "prediction": planner.store.record("predictions", prediction) / "prediction.h5ad",
        }
        reference_files = {
            other: planner.store.record("datasets", key) / "pseudobulk.h5ad" for other, key in references.items()
        }
        keys[name] = planner.node(
            job.model_copy(update={"inputs": files, "references": reference_files}), scorer.plugin, cheap=True,
            needs=tuple(needs.values()), title=f"score {name} of {label}, {task.name} seed {seed}",
        )  # fmt: skip
    return keys


def _preflight(planner: _Planner, offer: ModelOffer, split: str, task: Task) -> Any:
    """Give a function that says why a model cannot do a task here, or None."""

    def reason() -> str | None:
        if offer.oracle:
            return "needs values of the held-out cells (an oracle), which this version does not hand out"
        if offer.input == "cells" and _facts(planner, str(task.dataset)).get("level") != "cells":
            return "needs cells; the dataset has only one mean per perturbation"
        kinds = {
            "single" if "+" not in query else "double" for query in queries_of(planner.store, split, task.score_on)
        }
        if task.references:
            kinds.add("transfer")
        if not kinds & set(offer.tasks):
            asked = " or ".join(f"{kind}s" for kind in sorted(kinds))
            return f"does not predict {asked} (its card: {', '.join(offer.tasks)})"
        return missing_hardware(offer.needs, planner.recipe.resources.device)

    return reason


def _facts(planner: _Planner, dataset: str) -> dict[str, Any]:
    import json

    path = planner.store.record("datasets", planner.plan.datasets[dataset]) / "facts.json"
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return facts


def _job_task(task: Task, seed: int) -> JobTask:
    return JobTask(dataset=str(task.dataset), name=task.name, split_kind=split_label(task), split_seed=seed)


def _refusal(problem: str) -> Any:
    def refuse(_: Path) -> None:
        raise PertharnessError(problem)

    return refuse


def _core(registry: Registry) -> Plugin:
    """Give the plugin of the core's own interpreter; its environment hash holds that of the worker side."""
    if "datasets" not in registry.plugins:
        raise RecipeError("the built-in plugin 'datasets' is not installed; reinstall pertharness")
    return registry.plugins["datasets"]


def _find(offers: Mapping[str, Any], name: str, kind: str) -> Any:
    if name not in offers:
        raise RecipeError(f"there is no {kind} {name!r}; {expected(name, offers)}")
    return offers[name]


def _with_defaults(
    offer: DatasetOffer | EmbeddingOffer | ModelOffer | ScorerOffer, given: Mapping[str, Any], where: str
) -> dict[str, Any]:
    unknown = [name for name in given if name not in offer.params]
    if unknown:
        raise RecipeError(
            f"{where}: {offer.name!r} has no parameter {unknown[0]!r}; {expected(unknown[0], offer.params)}"
        )
    return {**offer.params, **given}


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value
