"""Inputs that jobs of several stages share: references, and the task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pertharness.contract.errors import ContractError

if TYPE_CHECKING:
    from anndata import AnnData

    from pertharness.contract.jobs import Job, Task


def read_references(job: Job) -> dict[str, AnnData]:
    """Return the other datasets of a job by name."""
    from pertharness.data import canonical

    return {name: canonical.read(path) for name, path in job.references.items()}


def describe_task(job: Job, train: AnnData) -> Task:
    """Return the task of a job, with modality and context from its training data."""
    if job.task is None:
        raise ContractError(f"the job {job.key!r} has no task")
    fields = train.uns.get("pertharness", {})
    contexts = train.obs["context"].unique() if "context" in train.obs else []
    context = str(contexts[0]) if len(contexts) else None
    return job.task.model_copy(update={"modality": fields.get("modality"), "context": context})
