"""The jobs of a model: its prediction, and why it may not be possible here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pertharness.contract.cards import ModelOffer
from pertharness.contract.jobs import REFERENCE, SLOT, State
from pertharness.contract.options import ExternalOptions, ModelOptions, QueryOptions
from pertharness.contract.stages import DATASET, EMBEDDING, PSEUDOBULK, SPLIT, TRAIN, VAL
from pertharness.host.leaderboard.comparison import with_test_weights
from pertharness.host.plan.data_jobs import plan_split
from pertharness.host.plan.embedding_jobs import (
    by_chance,
    plan_embeddings,
    shown_files,
    shown_slots,
    why_not,
    with_other_weights,
)
from pertharness.host.plan.needed_files import OfferFiles, files_of_params, gpu_memory, missing_here, plan_files
from pertharness.host.plan.oracle_jobs import facts_of, has_oracle, plan_oracle, why_denied, why_no_oracle
from pertharness.host.plan.planner import Planner, Scorers, add_attempt, job_task, with_defaults
from pertharness.host.plan.score_jobs import plan_scores
from pertharness.host.plan.split_jobs import queries_of
from pertharness.host.plugins.registry import Offered, Registry, look_up
from pertharness.host.recipe import ModelSpec, PredictionChoice
from pertharness.host.recipe import TaskChoice as Task
from pertharness.host.text.did_you_mean import close_to


def plan_model(planner: Planner, task: Task, seed: int, spec: ModelSpec, scorers: Scorers) -> None:
    """Add the jobs and attempts of a model on one split, one per training seed if its training is stochastic.

    A grid has none of its own: see `pertharness.host.plan.grid_jobs`. Where no plugin offers its model, it is shown so.
    """
    spec = spec.starred()
    split = plan_split(planner, task, seed, "pseudobulk")
    offered = find_model(planner.registry, spec)
    shown = shown_model(planner.registry, spec)
    if offered is None:
        reason, state = _why_absent(planner.registry, spec, shown)
        shown, plugin, seeds = replace(spec, slots=shown.slots), spec.plugin or "", planner.recipe.training_seeds
    else:
        reason, state, plugin = why_not_planned(planner, task, spec, offered.offer), "skipped", offered.plugin.ref.name
        seeds = planner.recipe.training_seeds[: None if by_chance(planner.registry, offered.offer, spec) else 1]
    for training_seed in seeds:
        if offered is None or reason:
            add_attempt(
                planner, task, seed, training_seed, plugin, shown, split, reason=reason, state=state,
                oracle=offered is not None and has_oracle(offered.offer),
            )  # fmt: skip
            continue
        options = model_options(planner, task.score_on)
        prediction = plan_prediction(planner, task, seed, training_seed, spec, offered, split, options)
        add_attempt(
            planner, task, seed, training_seed, plugin, shown, split, prediction=prediction,
            scores=plan_scores(planner, task, seed, split, prediction, shown.text(), scorers),
            uses_validation=offered.offer.uses_validation, constant=offered.offer.constant,
            copies_training=offered.offer.copies_training, oracle=has_oracle(offered.offer),
        )  # fmt: skip


def why_not_planned(planner: Planner, task: Task, spec: ModelSpec, offer: ModelOffer) -> str:
    """Return why the recipe rules out a model on a task, whatever the data hold; empty if it does not."""
    return why_denied(planner, offer) or why_not(planner, task, spec)


def model_options(planner: Planner, score_on: tuple[str, ...]) -> ModelOptions:
    """Return what a job is asked that fits a model: what it predicts, and whether its record keeps the model."""
    kept = {"keep_model": True} if planner.recipe.keep_models else {}
    return ModelOptions(score_on=score_on, **kept)


def _why_absent(registry: Registry, spec: ModelSpec, shown: ModelSpec) -> tuple[str, State]:
    """Return why no plugin offers a model: its plugin cannot be used, or is not installed."""
    for problem in registry.problems:
        if problem.plugin in (spec.plugin, spec.name):
            return f"plugin {problem.plugin!r} cannot be used: {problem.message}", problem.state
    # No list of the installed models: a recipe may name many that are not, and a leaderboard notes each.
    reasons = (f"not installed: {shown.text()!r}", close_to(spec.name, registry.models))
    return "; ".join(filter(None, reasons)), "skipped"


def plan_prediction(
    planner: Planner,
    task: Task,
    seed: int,
    training_seed: int,
    spec: ModelSpec,
    offered: Offered[ModelOffer],
    split: str,
    options: ModelOptions | QueryOptions,
    *,
    selects: bool = False,
) -> str:
    """Add the job that fits a model and predicts, after those that make its embeddings, and return its key.

    `options` say what it predicts: the held-out perturbations of the split, or queries of a user's. With `selects`, the
    model is a candidate of a grid, for which val must not be empty.
    """
    offer, queries = offered.offer, options.queries if isinstance(options, QueryOptions) else ()
    means_split = split
    if offer.input == "cells":
        split = plan_split(planner, task, seed, "cells")
    params = with_defaults(offer, spec.params, spec.text())
    weights = plan_files(planner, offered, str(task.dataset), params)
    level = DATASET if offer.input == "cells" else PSEUDOBULK
    files = files_of_params(planner, offer, params, spec.text())
    inputs = [
        planner.from_record("train", "splits", split, TRAIN, key_role="split"),
        *([planner.from_record("val", "splits", split, VAL, key_role="split")] if offer.uses_validation else ()),
        planner.from_record("split", "splits", split, SPLIT),
        *weights.inputs(),
        *files,
    ]
    if isinstance(options, ModelOptions):
        inputs += plan_oracle(planner, task, means_split, offer, params, weights, files, options.score_on)
    inputs += [
        planner.from_record(REFERENCE + name, "datasets", planner.plan.datasets[name], level)
        for name in task.references
    ]
    inputs += [
        planner.from_record(SLOT + slot, "embeddings", key, EMBEDDING)
        for slot, key in plan_embeddings(planner, task, seed, spec, offer, training_seed, queries).items()
    ]
    return planner.add_job(
        "predictions", offered.plugin, inputs, name=offer.name, params=params, seed=training_seed,
        task=job_task(task, seed), options=options.written(),
        title=f"{label_of(planner.registry, spec)} on {task.dataset} {task.name} seed {seed}",
        cheap=offer.cheap, preload=offer.preload, prepare=weights.prepare,
        preflight=_preflight(planner, offer, split, task, weights, queries, selects=selects),
        gpu_gb=gpu_memory(planner, offer),
    )  # fmt: skip


def find_model(registry: Registry, spec: ModelSpec) -> Offered[ModelOffer] | None:
    """Return the installed model that a choice means, or None."""
    return look_up(registry.models, spec.full_name)


def name_of(registry: Registry, spec: ModelSpec) -> str:
    """Return a model's name on the leaderboard, with its plugin only if the name alone means another model."""
    meant = find_model(registry, spec)
    return next((name for name, offered in registry.models.items() if offered is meant), spec.full_name)


def label_of(registry: Registry, spec: ModelSpec) -> str:
    """Return a model's label on the leaderboard: its name, with slots and the parameters that are not defaults."""
    return shown_model(registry, spec).text()


def shown_model(registry: Registry, spec: ModelSpec) -> ModelSpec:
    """Return a model as on the leaderboard, where a grid has ``*`` in place of its values."""
    offered, grid, spec = find_model(registry, spec), spec, spec.starred()
    name, params = name_of(registry, spec), spec.params
    if offered:
        params = shown_files(offered.offer, _changed(offered.offer, spec))
        is_tested = any(with_other_weights(registry, offered.offer, each) for each in grid.candidates())
        name = with_test_weights(name) if is_tested else name
    return ModelSpec(None, name, shown_slots(registry, spec), params)


def _changed(offer: ModelOffer, spec: ModelSpec) -> dict[str, Any]:
    """Return the parameters that differ from their defaults."""
    return {name: value for name, value in spec.params.items() if (name, value) not in offer.params.items()}


_READING = 3
"""Version of the reading of prediction files, part of their keys; raised when a file may be read differently."""
_OF_LABELS = ("separator", "label_map", "control_label", "guides", "scale")
"""Parameters of a dataset's file that hold for predictions, too: how labels are read, whether the scale is declared."""


def plan_file(planner: Planner, task: Task, seed: int, entry: PredictionChoice, scorers: Scorers) -> None:
    """Add a prediction that was made elsewhere: read instead of computed, scored like any other."""
    split = plan_split(planner, task, seed, "pseudobulk")
    options: dict[str, Any] = {"score_on": task.score_on, "prediction_kind": entry.kind, "reading": _READING}
    options |= {"prediction_columns": entry.columns} if entry.columns else {}
    options |= {"dataset_params": params} if (params := _params_of_labels(planner, str(task.dataset))) else {}
    inputs = [
        planner.from_record("split", "splits", split, SPLIT),
        planner.from_record("train", "splits", split, TRAIN, key_role="split"),
        planner.from_file("file", entry.file),
    ]
    prediction = planner.add_job(
        "predictions", None, inputs, name=entry.name, options=ExternalOptions.model_validate(options).written(),
        title=f"{entry.name} (file) on {task.dataset} {task.name}", cheap=True,
    )  # fmt: skip
    scores = plan_scores(planner, task, seed, split, prediction, entry.name, scorers)
    add_attempt(
        planner, task, seed, 1, "file", ModelSpec(None, entry.name), split, prediction=prediction, scores=scores
    )


def _params_of_labels(planner: Planner, dataset: str) -> dict[str, Any]:
    """Return the parameters that the user gave for labels and scale of a dataset's file."""
    job = planner.plan.nodes[planner.plan.datasets[dataset]].job
    if planner.recipe.datasets[dataset].file is None or job.plugin.name != "datasets":
        return {}
    return {name: job.params[name] for name in _OF_LABELS if job.params.get(name) is not None}


def _preflight(
    planner: Planner, offer: ModelOffer, split: str, task: Task, weights: OfferFiles, queries: tuple[str, ...], *,
    selects: bool,
) -> Any:  # fmt: skip
    """Return a function that returns why a model cannot do a task here, or None; `queries`: those of a user."""

    def reason() -> str | None:
        if blind := why_no_oracle(planner, offer, str(task.dataset), queries):
            return blind
        if offer.input == "cells" and facts_of(planner, str(task.dataset)).get("level") != "cells":
            return "needs cells; the dataset has only one mean per perturbation"
        kinds = {
            "single" if "+" not in query else "double"
            for query in queries or queries_of(planner.store, split, task.score_on)
        }
        if task.references:
            kinds.add("transfer")
        if not kinds & set(offer.tasks):
            words = " or ".join(f"{kind}s" for kind in sorted(kinds))
            return f"does not predict {words} (its card: {', '.join(offer.tasks)})"
        if selects and not queries_of(planner.store, split, ["val"]):
            return "a grid selects on val, and this split has no perturbations in val; name one value of each parameter"
        return missing_here(planner, offer.needs, weights)

    return reason
