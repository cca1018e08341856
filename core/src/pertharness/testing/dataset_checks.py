"""Checks of a dataset."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

from pertharness.contract.cards import DatasetOffer
from pertharness.contract.errors import ContractError, Skip
from pertharness.contract.stages import DATASET
from pertharness.files.whole import sha256_file
from pertharness.testing.subject import Once, Subject
from pertharness.worker.digests import changed_arguments, digest, digest_arguments
from pertharness.worker.guard import check_loaded

if TYPE_CHECKING:
    from anndata import AnnData

    from pertharness.data.stored import Stored


class DatasetTrial:
    """A dataset that is loaded when first needed."""

    def __init__(self, subject: Subject, offer: DatasetOffer, part: str = "") -> None:
        self.subject, self.offer = subject, offer
        self.raw = Once(self.call, "canonical")

    def call(self, *, hashed: bool = True) -> tuple[AnnData | Stored, list[str]]:
        """Load the dataset, and return it with the names of changed arguments; with `hashed`, the source file counts.

        Raises
        ------
        Skip
            If a required file is not available.
        """
        source = self.subject.source_of(self.offer)
        load = self.subject.hook("load_dataset", self.offer.name, guarded=False)
        params = copy.deepcopy(self.offer.params)
        before, content = digest_arguments({"params": params}), source and hashed and sha256_file(source)
        adata = load(name=self.offer.name, source=source, params=params)
        check_loaded(adata, self.offer.name, self.subject.refusal("load_dataset", self.offer.name))
        changed = changed_arguments(before, {"params": params})
        if source and hashed and (not source.is_file() or sha256_file(source) != content):
            changed.append("the source file")
        return adata, changed

    def load(self) -> AnnData | Stored:
        """Return the dataset, loaded once more."""
        return self.call(hashed=False)[0]

    def in_memory(self) -> AnnData:
        """Return the data if they are an AnnData.

        Raises
        ------
        Skip
            If they are a stored file, which the Guard has checked completely.
        """
        from anndata import AnnData

        adata, _ = self.raw()
        if not isinstance(adata, AnnData):
            raise Skip("the data are given as a stored file, not as an AnnData")
        return adata


def check_canonical(trial: DatasetTrial) -> None:
    """The data have the canonical form of docs/data.md."""
    trial.raw()


def check_inputs_unchanged(trial: DatasetTrial) -> None:
    """The hook does not change its parameters or the source file."""
    _, changed = trial.raw()
    if changed:
        raise ContractError(f"{' and '.join(changed)} changed; read the file only, and work on a copy of params")


def check_same_data(trial: DatasetTrial) -> None:
    """Loading twice gives the same data."""
    if digest(trial.in_memory()) != digest(trial.load()):
        raise ContractError("loaded twice, the data differ; draw from a generator with a fixed seed, or one of params")


def check_survives_a_file(trial: DatasetTrial) -> None:
    """Written as h5ad and read again, the data still have the canonical form."""
    from pertharness.data.canonical import check_dataset, read, write
    from pertharness.testing.subject import working_folder

    adata = trial.in_memory()
    with working_folder() as folder:
        write(adata, folder / DATASET)
        check_dataset(read(folder / DATASET), trial.offer.name)


DATASET_CHECKS: dict[str, Callable[[DatasetTrial], None]] = {
    "canonical": check_canonical, "inputs_unchanged": check_inputs_unchanged, "same_data": check_same_data,
    "file": check_survives_a_file,
}  # fmt: skip
