"""Checks of a dataset that the plugin can make without a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pertharness.cards import DatasetOffer
from pertharness.errors import ContractError, Skip
from pertharness.testing.subject import Once, Subject

if TYPE_CHECKING:
    from anndata import AnnData


class DatasetTrial:
    """A dataset, loaded when first needed."""

    def __init__(self, subject: Subject, offer: DatasetOffer, part: str = "") -> None:
        self.subject, self.offer = subject, offer
        self.loaded = Once(self.load, "canonical")

    def load(self) -> AnnData:
        """Load it inside the Guard.

        Raises
        ------
        Skip
            If it needs a file.
        """
        if self.offer.takes_file:
            raise Skip("it reads a file of the user's; test it on files of your own")
        if self.offer.source is not None:
            raise Skip(
                f"it reads {self.offer.source.filename!r}, which is fetched; test it on a small file of that kind"
            )
        load = self.subject.hook("load_dataset", self.offer.name)
        adata: AnnData = load(name=self.offer.name, source=None, params=self.offer.params)
        return adata

    def in_memory(self) -> AnnData:
        """Give the data where they are an AnnData.

        Raises
        ------
        Skip
            If they are a stored file, of which the Guard has checked all there is to check.
        """
        from anndata import AnnData

        adata = self.loaded()
        if not isinstance(adata, AnnData):
            raise Skip("the data are given as a stored file, not as an AnnData")
        return adata


def check_canonical(trial: DatasetTrial) -> None:
    """It has the canonical form of docs/data.md."""
    trial.loaded()


def check_same_data(trial: DatasetTrial) -> None:
    """Loaded twice, it is the same."""
    from pertharness.worker.digests import digest

    if digest(trial.in_memory()) != digest(trial.load()):
        raise ContractError("loaded twice, the data differ; draw from a generator with a fixed seed, or one of params")


def check_survives_a_file(trial: DatasetTrial) -> None:
    """Written as h5ad and read again, it still has the canonical form."""
    from pertharness.canonical import check_dataset, read, write
    from pertharness.testing.subject import working_folder

    adata = trial.in_memory()
    with working_folder() as folder:
        write(adata, folder / "dataset.h5ad")
        check_dataset(read(folder / "dataset.h5ad"), trial.offer.name)


DATASET_CHECKS: dict[str, Callable[[DatasetTrial], None]] = {
    "canonical": check_canonical, "same_data": check_same_data, "file": check_survives_a_file,
}  # fmt: skip
