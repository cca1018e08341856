"""Calls of a model's hooks ``fit`` and ``predict``, for all jobs that predict with a plugin's model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pertharness.contract.errors import ContractError
from pertharness.contract.jobs import ORACLE_ROLE, SCRATCH
from pertharness.worker.hooks import implemented
from pertharness.worker.stages.job_data import describe_task, read_references

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData

    from pertharness.contract.jobs import Job


@dataclass(frozen=True)
class Trained:
    """The training side of a split: its data, and their controls, shape (n_obs, n_genes), log1p CP10k."""

    train: AnnData
    controls: AnnData


def fit_model(job: Job, folder: Path, hooks: Any, data: Trained) -> object:
    """Return the fitted model of a job."""
    from pertharness.data import canonical
    from pertharness.data.embeddings import read_embedding

    fit = implemented(hooks, "fit", job)
    val = canonical.read(job.inputs["val"]) if "val" in job.inputs and job.inputs["val"].exists() else None
    embeddings = {slot: read_embedding(path) for slot, path in job.embeddings.items()}
    model: object = fit(
        name=job.name, train=data.train, val=val, task=describe_task(job, data.train), embeddings=embeddings,
        references=read_references(job), files=job.files(), params=job.params, device=job.device, seed=job.seed,
        workdir=folder.parent / SCRATCH,
    )  # fmt: skip
    return model


def predict_with(
    model: object, job: Job, folder: Path, hooks: Any, data: Trained, queries: Sequence[str]
) -> AnnData:  # fmt: skip
    """Return the prediction of a model."""
    prediction: AnnData = implemented(hooks, "predict", job)(
        name=job.name, model=model, controls=data.controls, queries=list(queries), oracle=_read_oracle(job, hooks),
        task=describe_task(job, data.train), device=job.device, seed=job.seed, workdir=folder.parent / SCRATCH,
    )  # fmt: skip
    return prediction


def _read_oracle(job: Job, hooks: Any) -> AnnData | None:
    """Return the observed values of held-out cells that a job names, if the model's card declares that it uses them.

    Raises
    ------
    ContractError
        If it does not; the harness plans no such job.
    """
    from pertharness.data import canonical

    if ORACLE_ROLE not in job.inputs:
        return None
    offer = next((offer for offer in implemented(hooks, "describe", job)().models if offer.name == job.name), None)
    if offer is None or offer.oracle is None:
        raise ContractError(
            f"the job {job.key!r} names observed values of held-out cells, and the card of {job.name!r} declares no "
            "oracle; install the same version of the plugin on both sides"
        )
    return canonical.read(job.inputs[ORACLE_ROLE])
