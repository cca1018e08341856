"""Checks of an embedding on planted data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness.contract.cards import EmbeddingOffer
from pertharness.contract.errors import ContractError, Skip
from pertharness.contract.labels import CONTROL
from pertharness.testing.fresh import check_kept_nothing
from pertharness.testing.model_trial import OTHER_SCREEN, OTHER_SEED, SEED
from pertharness.testing.planted import SINGLES, UNSEEN, planted_means
from pertharness.testing.subject import Once, Subject, working_folder
from pertharness.worker.digests import changed_arguments, copy_hint, digest_arguments
from pertharness.worker.guard import check_embedding

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


class EmbeddingTrial:
    """An embedding of one kind, with the labels of planted data."""

    def __init__(self, subject: Subject, offer: EmbeddingOffer, part: str) -> None:
        self.subject, self.offer, self.kind = subject, offer, part
        self.train = planted_means()
        self.labels = list(map(str, self.train.var_names)) if part == "gene" else [CONTROL, *SINGLES]
        self.raw = Once(self.call, "table")

    def call(
        self, train: AnnData | None = None, labels: list[str] | None = None, seed: int = SEED,
        params: Mapping[str, Any] | None = None,
    ) -> tuple[pd.DataFrame, list[str]]:  # fmt: skip
        """Embed the labels, and return the table with the names of changed arguments.

        An embedding that takes a reference receives another planted screen.

        Raises
        ------
        Skip
            If a required file is not available.
        """
        queried = list(self.labels if labels is None else labels)
        references = {"planted_b": planted_means(context="planted_b")} if self.offer.takes_reference else {}
        arguments = {
            "train": (self.train if train is None else train).copy(), "references": references,
            "labels": list(queried),
            "files": self.subject.files_of(self.offer), "params": copy.deepcopy(dict(params or self.offer.params)),
        }  # fmt: skip
        source = self.subject.source_of(self.offer)
        embed = self.subject.hook("embed", self.offer.name, guarded=False)
        before = digest_arguments(arguments)
        with working_folder() as workdir:
            table = embed(
                name=self.offer.name,
                kind=self.kind,
                source=source,
                device="cpu",
                seed=seed,
                workdir=workdir,
                **arguments,
            )
        check_embedding(table, queried, self.subject.refusal("embed", self.offer.name))
        return table, changed_arguments(before, arguments)

    def table(self) -> pd.DataFrame:
        """Return the table of the first call."""
        return self.raw()[0]

    def embed(self, labels: list[str] | None = None) -> pd.DataFrame:
        """Return the table of another call."""
        return self.call(labels=labels)[0]


def _difference(first: pd.DataFrame, second: pd.DataFrame) -> str:
    """Return how two tables differ; empty if they are equal."""
    if list(first.index) != list(second.index):
        return "other labels have a row"
    return "" if np.array_equal(first.to_numpy(), second.to_numpy()) else "the numbers are others"


def check_table(trial: EmbeddingTrial) -> None:
    """The table has a row of finite numbers for some of the requested labels, and for no others."""
    if not len(trial.table()):
        raise ContractError("no label has an embedding; expected some of the planted genes, which have real symbols")


def check_inputs_unchanged(trial: EmbeddingTrial) -> None:
    """The hook does not change its inputs: data, references, labels and parameters."""
    _, changed = trial.raw()
    if changed:
        raise ContractError(f"{' and '.join(changed)} changed; work on a copy: {copy_hint(changed[0])}")


def check_same_table(trial: EmbeddingTrial) -> None:
    """The same seed gives the same numbers."""
    if _difference(trial.table(), trial.embed()):
        raise ContractError("two calls with one seed differ; draw from a generator made of the argument 'seed' alone")


def check_no_state(trial: EmbeddingTrial) -> None:
    """The table is the same after another call in the same process: no state is kept in a module."""
    screen = planted_means(seed=OTHER_SCREEN)
    others = [
        lambda params: trial.call(screen, seed=OTHER_SEED, params=params), lambda params: trial.call(params=params),
    ]  # fmt: skip
    module, params = trial.subject.ref.module, trial.offer.params
    check_kept_nothing(module, trial.table(), trial.embed, others, _difference, params)


def check_unknown_label(trial: EmbeddingTrial) -> None:
    """An unknown label is left out, and the others keep their rows."""
    if trial.offer.any_label:
        raise Skip("the card says that it gives any label a row")
    expected = trial.table()
    more = trial.embed([*trial.labels, UNSEEN])
    if UNSEEN in more.index:
        raise ContractError(f"{UNSEEN!r} has an embedding, and no such gene exists; leave unknown labels out")
    if sorted(more.index) != sorted(expected.index):
        raise ContractError(f"with {UNSEEN!r} among the labels, other rows come back; expected the same ones")


EMBEDDING_CHECKS: dict[str, Callable[[EmbeddingTrial], None]] = {
    "table": check_table, "inputs_unchanged": check_inputs_unchanged, "same_table": check_same_table,
    "no_state": check_no_state, "unknown_label": check_unknown_label,
}  # fmt: skip
