"""Predictions of a user's queries, with a model that is fitted to all data and kept, or with a kept model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pertharness.contract.options import QueryOptions, options_of
from pertharness.worker.hooks import guarded_hooks
from pertharness.worker.stages.kept_model import keep_model, restore_model
from pertharness.worker.stages.model_hooks import Trained, fit_model, predict_with

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    from pertharness.contract.jobs import Job, Phase


def answer_queries(job: Job, folder: Path, phases: list[Phase], data: Trained) -> tuple[AnnData, list[str]]:
    """Return the predictions of the queries with notes; keep a fitted model in `folder` if its plugin can save it.

    Raises
    ------
    ContractError
        If the archive of a kept model is damaged, or the plugin can no longer restore models.
    """
    hooks = guarded_hooks(job, phases)
    notes: list[str] = []
    if "model" in job.inputs:
        model = restore_model(job, folder, hooks)
    else:
        model = fit_model(job, folder, hooks, data)
        notes = keep_model(model, job, folder, hooks)
    return predict_with(model, job, folder, hooks, data, options_of(job, QueryOptions).queries), notes
