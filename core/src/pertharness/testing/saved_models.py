"""Check that a model predicts the same after it was written to files and restored from them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from pertharness.contract.errors import ContractError, Skip
from pertharness.files.trees import remove_tree
from pertharness.testing.model_trial import (
    OTHER_SCREEN,
    OTHER_SEED,
    TOLERANCE,
    ModelTrial,
    largest_difference,
    refuse_other_queries,
)
from pertharness.testing.planted import pose
from pertharness.worker.hooks import can_save, load_plugin


def check_saved_model(trial: ModelTrial) -> None:
    """Written by save_model and restored by load_model, the model predicts the same; skipped without these hooks."""
    if not can_save(load_plugin(trial.subject.job()).hook):
        raise Skip("the plugin has no hooks save_model and load_model, which are optional")
    first, second = trial.sound(), trial.answer(restore=lambda model, workdir: _restore(trial, model, workdir))
    change = "restored from the files of save_model"
    refuse_other_queries(first.means(), second.means(), second.queries, change)
    difference = largest_difference(first.means(), second.means())
    if difference > TOLERANCE:
        raise ContractError(
            f"{change}: answers differ by up to {difference:.2g}, allowed {TOLERANCE:g}; save all that predict uses, "
            "with the precision that it has"
        )


def _restore(trial: ModelTrial, model: Any, workdir: Path) -> Any:
    """Write a model, move its files to another folder, and return the model that is restored from them alone."""
    offer = trial.offer
    save, load = (trial.subject.hook(name, offer.name) for name in ("save_model", "load_model"))
    with tempfile.TemporaryDirectory(dir=workdir.parent) as parent:
        written, moved = Path(parent) / "written", Path(parent) / "moved"
        written.mkdir()
        save(name=offer.name, model=model, folder=written)
        written.rename(moved)
        for path in workdir.iterdir():  # what the fit left there goes away with its job
            remove_tree(path)
        if offer.cheap:  # what a module keeps of the last model would pass for what was read
            trial.answer(pose(trial.posed.task.name, offer.input, seed=OTHER_SCREEN), seed=OTHER_SEED)
        return load(name=offer.name, folder=moved, files=trial.subject.files_of(offer), device="cpu")
