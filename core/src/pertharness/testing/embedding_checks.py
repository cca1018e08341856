"""Checks of an embedding on planted data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from pertharness.cards import EmbeddingOffer
from pertharness.errors import ContractError, Skip
from pertharness.labels import CONTROL
from pertharness.testing.planted import SINGLES, UNSEEN, planted_means
from pertharness.testing.subject import Once, Subject, working_folder

if TYPE_CHECKING:
    import pandas as pd


class EmbeddingTrial:
    """An embedding of one kind, and the labels of planted data."""

    def __init__(self, subject: Subject, offer: EmbeddingOffer, part: str) -> None:
        self.subject, self.offer, self.kind = subject, offer, part
        self.train = planted_means()
        self.labels = list(map(str, self.train.var_names)) if part == "gene" else [CONTROL, *SINGLES]
        self.table = Once(self.embed, "table")

    def embed(self, labels: list[str] | None = None) -> pd.DataFrame:
        """Embed the labels inside the Guard; the other screen, for one that takes it, is planted too.

        Raises
        ------
        Skip
            If the embedding takes a file, or needs weights that are not there.
        """
        files = self.subject.files_of(self.offer)
        if self.offer.takes_file:
            raise Skip("it takes a file, which the kit does not have; test it on one of your own")
        references = {"planted_b": planted_means(context="planted_b")} if self.offer.takes_reference else {}
        embed = self.subject.hook("embed", self.offer.name)
        with working_folder() as workdir:
            table: pd.DataFrame = embed(
                name=self.offer.name, kind=self.kind, source=None, train=self.train.copy(), references=references,
                labels=list(self.labels if labels is None else labels), files=files, params=self.offer.params,
                device="cpu", seed=1, workdir=workdir,
            )  # fmt: skip
        return table


def check_table(trial: EmbeddingTrial) -> None:
    """It has a row of finite numbers for some of the labels that were asked for, and for no other."""
    if not len(trial.table()):
        raise ContractError("no label has an embedding; expected some of the planted genes, which have real symbols")


def check_same_table(trial: EmbeddingTrial) -> None:
    """The same seed gives the same numbers."""
    one, other = trial.table(), trial.embed()
    if list(one.index) != list(other.index) or not np.array_equal(one.to_numpy(), other.to_numpy()):
        raise ContractError("two calls with one seed differ; draw from a generator made of the argument 'seed' alone")


def check_unknown_label(trial: EmbeddingTrial) -> None:
    """A label that nobody knows is left out, and the others keep their rows."""
    if trial.offer.any_label:
        raise Skip("the card says that it gives any label a row")
    known = trial.table()
    more = trial.embed([*trial.labels, UNSEEN])
    if UNSEEN in more.index:
        raise ContractError(f"{UNSEEN!r} has an embedding, and no such gene exists; leave unknown labels out")
    if sorted(more.index) != sorted(known.index):
        raise ContractError(f"with {UNSEEN!r} among the labels, other rows come back; expected the same ones")


EMBEDDING_CHECKS: dict[str, Callable[[EmbeddingTrial], None]] = {
    "table": check_table, "same_table": check_same_table, "unknown_label": check_unknown_label,
}  # fmt: skip
