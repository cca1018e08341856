"""The job that predicts a user's queries, with a model that is fitted to all data, or with a kept one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pertharness.contract.cards import ModelOffer
from pertharness.contract.errors import RecipeError
from pertharness.contract.jobs import WEIGHTS, Job
from pertharness.contract.options import QueryOptions
from pertharness.host.plan.data_jobs import plan_split
from pertharness.host.plan.embedding_jobs import why_not
from pertharness.host.plan.inputs import Input
from pertharness.host.plan.needed_files import OfferFiles, gpu_memory, missing_here
from pertharness.host.plan.oracle_jobs import NO_TRUTH, has_oracle
from pertharness.host.plan.planner import Planner
from pertharness.host.plan.prediction_jobs import label_of, plan_prediction
from pertharness.host.plugins.registry import Offered
from pertharness.host.recipe import ModelSpec
from pertharness.host.recipe import TaskChoice as Task

TASK = "all"
"""Name and split kind of the task of a prediction: everything trains."""


@dataclass(frozen=True)
class KeptFiles:
    """The files of a kept model: what a job needs that predicts with it.

    Attributes
    ----------
    key, job
        Of the record that keeps it.
    model, train
        Its archive, and the training data of its split, whose controls every prediction starts from: path and sha256.
    weights
        Weights and side files by name: path and sha256, as they were when it was fitted.
    """

    key: str
    job: Job
    model: tuple[Path, str]
    train: tuple[Path, str]
    weights: Mapping[str, tuple[Path, str]] = field(default_factory=dict)


def plan_queries(
    planner: Planner, dataset: str, spec: ModelSpec, offered: Offered[ModelOffer], queries: Sequence[str]
) -> str:  # fmt: skip
    """Add the jobs that fit a model to all of a dataset and predict the queries, and return the key of the prediction.

    Raises
    ------
    RecipeError
        If a parameter or an embedding of the model is not available.
    """
    task = Task.model_validate({"name": TASK, "dataset": dataset, "split": {"kind": TASK}})
    if reason := why_not(planner, task, spec):
        raise RecipeError(f"model {label_of(planner.registry, spec)!r}: {reason}")
    split = plan_split(planner, task, 0, "pseudobulk")
    training_seed = planner.recipe.training_seeds[0]
    options = QueryOptions(queries=tuple(sorted(queries)))
    return plan_prediction(planner, task, 0, training_seed, spec, offered, split, options)


def plan_kept(planner: Planner, kept: KeptFiles, offered: Offered[ModelOffer], queries: Sequence[str]) -> str:
    """Add the job in which a kept model predicts the queries, and return its key.

    Its inputs are files whose content enters the key: the jobs that made them need not be part of the plan.
    """
    roles = {"train": kept.train, "model": kept.model}
    roles |= {WEIGHTS + name: file for name, file in kept.weights.items()}
    inputs = [Input(role, None, path, sha256) for role, (path, sha256) in roles.items()]
    job, offer = kept.job, offered.offer
    options = QueryOptions(queries=tuple(sorted(queries)), model_record=kept.key)
    return planner.add_job(
        "predictions", offered.plugin, inputs, name=job.name, params=job.params, seed=job.seed, task=job.task,
        options=options.written(), title=f"{job.name} of record {kept.key[:12]}", cheap=offer.cheap,
        preload=offer.preload,
        preflight=lambda: NO_TRUTH if has_oracle(offer) else missing_here(planner, offer.needs, OfferFiles(())),
        gpu_gb=gpu_memory(planner, offer),
    )  # fmt: skip
