"""Shared parts of planning: jobs with their keys, offers by name, parameters with their defaults."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pertharness.contract.cards import DatasetOffer, EmbeddingOffer, ModelOffer, ScorerOffer
from pertharness.contract.errors import RecipeError
from pertharness.contract.jobs import Job
from pertharness.contract.jobs import Task as JobTask
from pertharness.contract.stages import ON_DEVICE, Stage
from pertharness.files.whole import sha256_file
from pertharness.host.execution.batch import CORE
from pertharness.host.execution.executor import Executor
from pertharness.host.execution.hardware import Machine
from pertharness.host.execution.nodes import Node
from pertharness.host.plan.inputs import Input, job_fields, key_inputs, needs, sums
from pertharness.host.plan.plan import Attempt, Plan
from pertharness.host.plan.split_jobs import split_label
from pertharness.host.plugins.describe import caches_of
from pertharness.host.plugins.registry import Offered, Plugin, Registry, look_up
from pertharness.host.recipe import ModelSpec, Recipe
from pertharness.host.recipe import TaskChoice as Task
from pertharness.host.store.keys import key_of, key_parts
from pertharness.host.store.records import Store
from pertharness.host.text.did_you_mean import expected

Scorers = Sequence[tuple[Offered[ScorerOffer], Mapping[str, Any]]]


@dataclass(frozen=True)
class Planner:
    """The recipe, what is installed, and the plan so far."""

    recipe: Recipe
    registry: Registry
    store: Store
    executor: Executor
    plan: Plan
    hashes: dict[Path, str] = field(default_factory=dict)
    """Path -> sha256 of files that jobs name, each read once."""
    offer_files: dict[tuple[str, ...], Any] = field(default_factory=dict)
    """Plugin, kind and name of an offer -> its files, from `pertharness.host.plan.needed_files`."""
    splits: dict[tuple[int, int, str], tuple[Task, str]] = field(default_factory=dict)
    """Identity of a task, seed and level -> the task, kept to keep that identity valid, and the key of the split."""
    caches: dict[str, Path] = field(default_factory=dict)
    """Plugin -> file of its compile caches."""
    score_jobs: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    """Common parts of the score jobs of a split, from `pertharness.host.plan.score_jobs`."""

    @property
    def machine(self) -> Machine:
        """Hardware where the jobs will run."""
        return self.executor.machine

    @functools.cached_property
    def memory_mb(self) -> float:
        """Memory that a job may use: the user's limit, or 90% of the machine's, so that the system kills no process."""
        return self.recipe.resources.memory_mb or 0.9 * self.machine.ram_gb * 1000

    def caches_of(self, plugin: Plugin) -> Path:
        """Return the file of a plugin's compile caches."""
        name = plugin.ref.name
        if name not in self.caches:
            self.caches[name] = caches_of(plugin)
        return self.caches[name]

    def hash_of(self, path: Path) -> str:
        """Return the sha256 of a file."""
        if path not in self.hashes:
            self.hashes[path] = sha256_file(path)
        return self.hashes[path]

    def from_record(self, role: str, stage: Stage, key: str, file: str, key_role: str = "") -> Input:
        """Return a file of a record as an input."""
        return Input(role, key, self.store.record(stage, key) / file, key_role=key_role)

    def from_file(self, role: str, path: Path) -> Input:
        """Return a file outside of the store as an input."""
        return Input(role, None, path, self.hash_of(path))

    def add_job(
        self, stage: Stage, plugin: Plugin | None, inputs: Sequence[Input], *, title: str, name: str = "",
        params: Mapping[str, Any] = MappingProxyType({}), options: Mapping[str, Any] = MappingProxyType({}),
        seed: int = 0, task: JobTask | None = None, **node: Any,
    ) -> str:  # fmt: skip
        """Add a job to the plan unless it is in the plan already, and return its key.

        Parameters
        ----------
        stage, name, params, options, seed, task
            As in `Job`.
        plugin
            Whose hooks the job calls; None where the core does it itself, in its own interpreter.
        inputs
            All that the job reads: its files, what its key is made with and what it waits for.
        title, **node
            As in `Node`.
        """
        core = _core(self.registry)
        resources = self.recipe.resources
        identity = plugin.in_keys() if plugin else {"environment": core.environment}
        job = Job(
            key="", stage=stage, plugin=plugin.ref if plugin else CORE, name=name, params=dict(params), seed=seed,
            device=resources.device, threads=resources.threads if stage in ON_DEVICE else 1, task=task,
            options=dict(options), key_parts=key_parts(stage, identity, key_inputs(inputs)),
        )  # fmt: skip
        key = key_of(job)
        job = job.model_copy(update={"key": key, **job_fields(inputs, lambda: self.store.work(key))})
        caches, sources = (self.caches_of(plugin), plugin.sources) if plugin else (None, None)
        return self.plan.add(Node(
            job=job, python=(plugin or core).python, title=title, needs=needs(inputs), sums=sums(inputs),
            caches=caches, sources=sources, timeout_s=resources.timeout_s, memory_mb=self.memory_mb, **node,
        ))  # fmt: skip


def add_attempt(
    planner: Planner,
    task: Task,
    seed: int,
    training_seed: int,
    plugin: str,
    spec: ModelSpec,
    split: str,
    **fields: Any,
) -> None:
    """Add an attempt of the model that `spec` names, its parameters spelled as on the leaderboard."""
    params = params_text(spec) if not spec.plugin else ""
    planner.plan.attempts.append(
        Attempt(str(task.dataset), task, seed, training_seed, plugin, spec.name, params, split, **fields)
    )


def params_text(spec: ModelSpec) -> str:
    """Return slots and parameters as tables show them beside the name of a model."""
    return spec.text().removeprefix(spec.full_name)[1:-1]


def job_task(task: Task, seed: int) -> JobTask:
    """Return the task as a job's file has it."""
    return JobTask(dataset=str(task.dataset), name=task.name, split_kind=split_label(task), split_seed=seed)


def find_offer(offers: Mapping[str, Any], name: str, kind: str) -> Any:
    """Return the offer of a name.

    Raises
    ------
    RecipeError
        If there is none, with what may have been meant.
    """
    offered = look_up(offers, name)
    if offered is None:
        raise RecipeError(f"there is no {kind} {name!r}; {expected(name, offers)}")
    return offered


def with_defaults(
    offer: DatasetOffer | EmbeddingOffer | ModelOffer | ScorerOffer, params: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Return the parameters of an offer: those that were given, and the defaults of the others.

    Raises
    ------
    RecipeError
        If it has no such parameter, or its default is of another type; `where` says what asked for it.
    """
    unknown = [name for name in params if name not in offer.params]
    if unknown:
        raise RecipeError(f"{where}: {_unknown(offer, unknown[0])}")
    for name, value in params.items():
        if not _is_alike(value, offer.params[name]):
            usual = offer.params[name]
            raise RecipeError(f"{where}: {name} is {value!r}; expected a value such as {usual!r}")
    return {**offer.params, **params}


def _unknown(offer: DatasetOffer | EmbeddingOffer | ModelOffer | ScorerOffer, name: str) -> str:
    """Return that an offer has no parameter of this name, with its present name or the way to fill a slot."""
    present = next((each for each, help_ in offer.params_help.items() if name in help_.formerly), None)
    if present is not None:
        return f"the parameter {name!r} of {offer.name!r} is called {present!r} now; write {present}=VALUE"
    slots = offer.slots if isinstance(offer, ModelOffer) else ()
    if name.upper() in slots:
        slot = name.upper()
        problem = "a slot, not a parameter" if name in slots else f"no parameter; the slot {slot!r} has a capital"
        return f"{name!r} of {offer.name!r} is {problem}; fill it with an embedding, as in {_filled(slot)}"
    unknown = f"{offer.name!r} has no parameter {name!r}; {expected(name, offer.params)}"
    return unknown + (f"; or an embedding in a slot, as in {_filled(next(iter(slots)))}" if slots else "")


def _filled(slot: str) -> str:
    return f"{slot}=random or {slot}=table:FILE.csv"


def _is_alike(value: Any, usual: Any) -> bool:
    """Return whether a value has the type of the default; any value if the default is None."""
    if usual is None or value is None:
        return True
    if isinstance(usual, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(usual) or (isinstance(usual, list | tuple) and isinstance(value, list | tuple))


def _core(registry: Registry) -> Plugin:
    """Return the plugin of the core's own interpreter."""
    if "datasets" not in registry.plugins:
        raise RecipeError("the built-in plugin 'datasets' is not installed; reinstall pertharness")
    return registry.plugins["datasets"]
