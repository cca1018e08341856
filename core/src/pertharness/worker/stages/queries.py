"""Predictions of a user's queries, with a model that is fitted to all data and kept, or with a kept model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pertharness.contract.jobs import SCRATCH
from pertharness.contract.options import QueryOptions, options_of
from pertharness.contract.stages import MODEL
from pertharness.files.trees import remove_tree
from pertharness.worker.hooks import can_save, guarded_hooks, implemented
from pertharness.worker.model_files import pack_model, unpack_model
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
        model = _restore(job, folder, hooks)
    else:
        model = fit_model(job, folder, hooks, data)
        notes = _keep(model, job, folder, hooks)
    return predict_with(model, job, folder, hooks, data, options_of(job, QueryOptions).queries), notes


def _keep(model: object, job: Job, folder: Path, hooks: Any) -> list[str]:
    """Write a fitted model to an archive before its first use; return a note if that is impossible."""
    if not can_save(hooks):
        return [
            f"the plugin {job.plugin.name!r} cannot save models (it has no hooks save_model and load_model): the model "
            "is not kept, and is fitted again for other queries"
        ]
    files = _empty_folder(folder)
    hooks.save_model(name=job.name, model=model, folder=files)
    pack_model(files, folder / MODEL)
    remove_tree(files)
    return []


def _restore(job: Job, folder: Path, hooks: Any) -> object:
    """Return the model that another job kept."""
    files = _empty_folder(folder)
    unpack_model(job.inputs["model"], files)
    model: object = implemented(hooks, "load_model", job)(
        name=job.name, folder=files, files=job.files(), device=job.device
    )
    return model


def _empty_folder(folder: Path) -> Path:
    """Return an empty folder for the files of a model, which is removed after the job."""
    files = folder.parent / SCRATCH / "model"
    remove_tree(files)  # from an earlier attempt
    files.mkdir(parents=True)
    return files
