"""A fitted model that its record keeps: saved by the plugin after the fit, and restored in another job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pertharness.contract.jobs import SCRATCH
from pertharness.contract.stages import MODEL
from pertharness.files.trees import remove_tree
from pertharness.worker.hooks import can_save, implemented
from pertharness.worker.model_files import pack_model, unpack_model

if TYPE_CHECKING:
    from pathlib import Path

    from pertharness.contract.jobs import Job


def keep_model(model: object, job: Job, folder: Path, hooks: Any) -> list[str]:
    """Write a fitted model to an archive, before anything else is done with it; return a note if that is impossible."""
    if not can_save(hooks):
        return [
            f"the plugin {job.plugin.name!r} cannot save models (it has no hooks save_model and load_model): the model "
            "is not kept, and is fitted again for other queries"
        ]
    files = _empty_folder(folder)
    hooks.save_model(name=job.name, model=model, folder=files)
    pack_model(files, folder / MODEL, key=job.key)
    remove_tree(files)
    return []


def restore_model(job: Job, folder: Path, hooks: Any) -> object:
    """Return the model that another job kept."""
    files = _empty_folder(folder)
    unpack_model(job.inputs["model"], files)
    model: object = implemented(hooks, "load_model", job)(
        name=job.name, folder=files, files=job.files(), device=job.device
    )
    return model


def _empty_folder(folder: Path) -> Path:
    """Return an empty folder for the files of a model, which goes away with the job."""
    files = folder.parent / SCRATCH / "kept_model"
    remove_tree(files)  # of an earlier try
    files.mkdir(parents=True)
    return files
