"""Run a model on planted data as a worker does, and reorder that data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness.contract.cards import ModelOffer
from pertharness.contract.errors import ContractError, Skip
from pertharness.contract.labels import CONTROL
from pertharness.testing.planted import GENES, SINGLES, Posed, pose
from pertharness.testing.subject import Once, Subject, working_folder
from pertharness.worker import prediction_checks
from pertharness.worker.digests import changed_arguments, digest_arguments

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

SEED, OTHER_SEED = 1, 2
OTHER_SCREEN = 7
"""Seed of a second planted screen with the same perturbations."""
TOLERANCE = 1e-6
"""Tolerance for log1p values: far above the error of float64 sums in another order, about that of float32."""
CELLS_TOLERANCE = 1e-4
"""Tolerance for models of cells, which are float32: sums of 200 values of 5 in another order differ by up to 1e-5."""
SPREAD = 3.0
"""A stochastic model may change by this many times the effect of another seed before it fails a check."""


@dataclass(frozen=True)
class Answer:
    """A prediction, with the arguments of the hooks and the names of changed ones."""

    prediction: AnnData
    controls: AnnData
    queries: list[str]
    changed: tuple[str, ...] = ()

    def means(self) -> dict[str, np.ndarray]:
        """Return the predicted means by query."""
        labels = self.prediction.obs["perturbation"].astype(str)
        return dict(zip(labels, prediction_checks.as_matrix(self.prediction).astype(float), strict=True))


class ModelTrial:
    """A model, and a task on planted data."""

    def __init__(self, subject: Subject, offer: ModelOffer, task: str) -> None:
        self.subject, self.offer = subject, offer
        self.posed: Posed = pose(task, offer.input)
        self.refuse = subject.refusal("predict", offer.name)
        self.raw = Once(lambda: self.answer(guarded=False), "answers")
        self.formed = Once(self._formed, "answers, queries, genes, finite or inputs_unchanged")
        self.sound = Once(self._sound, "answers, queries, genes, finite, inputs_unchanged or scale")
        self.other = Once(lambda: self.answer(seed=OTHER_SEED), "another_seed")

    def answer(
        self, posed: Posed | None = None, *, seed: int = SEED, guarded: bool = True, queries: list[str] | None = None,
        val: bool = True, params: Mapping[str, Any] | None = None, restore: Callable[[Any, Path], Any] | None = None,
        with_oracle: bool = True,
    ) -> Answer:  # fmt: skip
        """Fit and predict, on the planted data or on `posed`, and return the answer.

        `restore` gets the fitted model and the folder of the job, and returns the model that predicts. Only a model
        whose card declares an oracle gets one, unless `with_oracle` is False.
        """
        from pertharness.data.canonical import select

        posed = posed or self.posed
        fit, predict = (self.subject.hook(name, self.offer.name, guarded=guarded) for name in ("fit", "predict"))
        common: dict[str, Any] = {"name": self.offer.name, "task": posed.task, "device": "cpu", "seed": seed}
        to_fit = {
            "train": posed.train.copy(), "val": posed.val.copy() if val and self.offer.uses_validation else None,
            "embeddings": planted_slots(self.offer.slots) | self._slots_given(),
            "references": {name: adata.copy() for name, adata in posed.references.items()},
            "files": self.subject.files_of(self.offer), "params": copy.deepcopy(dict(params or self.offer.params)),
        }  # fmt: skip
        requested = list(posed.queries if queries is None else queries)
        to_predict = {
            "controls": select(to_fit["train"], [CONTROL]), "queries": list(requested),
            "oracle": self._oracle(posed, requested, to_fit) if with_oracle else None,
        }  # fmt: skip
        before = digest_arguments(to_fit | to_predict)
        with working_folder() as workdir:
            model = fit(workdir=workdir, **to_fit, **common)
            if restore is not None:
                model = restore(model, workdir)
            prediction = predict(model=model, workdir=workdir, **to_predict, **common)
        prediction_checks.check_form(prediction, self.refuse)
        changed = tuple(changed_arguments(before, to_fit | to_predict))
        return Answer(prediction, select(posed.train, [CONTROL]), requested, changed)

    def _oracle(self, posed: Posed, requested: list[str], given: Mapping[str, Any]) -> AnnData | None:
        """Return the observed targets of the planted cells of the queries, if the model's card declares an oracle."""
        from pertharness.data.gene_list import read_gene_list
        from pertharness.data.oracle import observe_targets

        if self.offer.oracle is None:
            return None
        listed = self.offer.gene_list and gene_list_of(self.offer, given["params"], given["files"])
        return observe_targets(posed.cells, requested, read_gene_list(listed) if listed else None)

    def _slots_given(self) -> dict[str, pd.DataFrame]:
        """Return the embeddings for slots that the user gave."""
        return {slot: read_slot(path) for slot, path in self.subject.extras.slots}

    def _formed(self) -> Answer:
        """Return the raw answer, or skip if it has the wrong form, which other checks report."""
        answer = self.raw()
        try:
            prediction_checks.check_queries(answer.prediction, answer.queries, self.refuse)
            prediction_checks.check_genes(answer.prediction.var_names, answer.controls.var_names, self.refuse)
            prediction_checks.check_values(answer.prediction, self.refuse)
        except ContractError:
            raise Skip("not tried, because the answer breaks a contract: see queries, genes and finite") from None
        if not answer.prediction.n_obs:
            raise Skip("not tried, because no query is answered: see answers")
        if answer.changed:
            raise Skip("not tried, because an argument is changed: see inputs_unchanged")
        return answer

    def _sound(self) -> Answer:
        """Return the raw answer, or skip if it breaks the contract."""
        answer = self.formed()
        try:
            prediction_checks.check_bounds(answer.prediction, self.refuse)
        except ContractError:
            raise Skip("not tried, because values are out of range: see scale") from None
        return answer

    def within(self, first: Answer, second: Answer, change: str) -> None:
        """Check that two answers agree within the tolerance, for the queries in both."""
        first_means, second_means = first.means(), second.means()
        allowed = CELLS_TOLERANCE if self.offer.input == "cells" else TOLERANCE
        allowance = f"{allowed:g}"
        if not self.offer.deterministic:
            seeds = largest_difference(self.sound().means(), self.other().means())
            allowed, allowance = (
                max(allowed, SPREAD * seeds),
                f"{SPREAD:g} times what another seed changes ({seeds:.2g})",
            )
        refuse_other_queries(first_means, second_means, second.queries, change)
        difference = largest_difference(first_means, second_means)
        if difference > allowed:
            raise ContractError(f"{change}: answers differ by up to {difference:.2g}, allowed {allowance}")


def gene_list_of(offer: ModelOffer, params: Mapping[str, Any], files: Mapping[str, Path]) -> Path:
    """Return the file of a model's gene list: the one that a parameter puts in its place, or its own."""
    given = [params[name] for name, names in offer.replaces_weights.items() if offer.gene_list in names]
    return next((Path(path) for path in given if path), None) or files[str(offer.gene_list)]


def refuse_other_queries(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], queries: list[str], change: str
) -> None:
    """Raise an error if a query is answered in one answer and declined in the other."""
    if missing := sorted(set(queries) & (set(first) ^ set(second))):
        raise ContractError(f"{change}: {missing[0]!r} is answered once and declined once")


def largest_difference(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> float:
    """Return the largest difference over the queries in both; infinity if only one of them is NaN somewhere."""
    largest = 0.0
    for query in set(first) & set(second):
        if (np.isnan(first[query]) != np.isnan(second[query])).any():
            return float("inf")
        largest = max(largest, float(np.nanmax(np.abs(first[query] - second[query]), initial=0.0)))
    return largest


def shuffle_rows(posed: Posed) -> Posed:
    """Return the task with its training rows in another order; cells are renumbered, so that names do not reveal it."""
    order = np.random.default_rng(3).permutation(posed.train.n_obs)
    shuffled = posed.train[order].copy()
    if posed.train.uns["pertharness"]["level"] == "cells":
        shuffled.obs_names = [str(i) for i in range(shuffled.n_obs)]
    return replace(posed, train=shuffled)


def permute_genes(posed: Posed) -> Posed:
    """Return the task with the genes of all its data in another order, which is not alphabetical."""
    order = np.random.default_rng(9).permutation(posed.train.n_vars)

    def permute(adata: AnnData) -> AnnData:
        return adata[:, order].copy()

    return replace(
        posed, train=permute(posed.train), val=permute(posed.val), controls=permute(posed.controls),
        references={name: permute(adata) for name, adata in posed.references.items()}, truth=permute(posed.truth),
        cells=permute(posed.cells),
    )  # fmt: skip


def planted_slots(slots: Mapping[str, str]) -> dict[str, Any]:
    """Return a random embedding of three dimensions for each slot."""
    import pandas as pd

    labels = {"gene": GENES, "perturbation": SINGLES}
    rng = np.random.default_rng(4)
    return {
        slot: pd.DataFrame(rng.normal(size=(len(labels[kind]), 3)), index=pd.Index(labels[kind], name="label"))
        for slot, kind in slots.items()
    }


def read_slot(path: Path) -> pd.DataFrame:
    """Read an embedding of the user: an h5ad written by a job, or a table with the labels in its first column.

    Raises
    ------
    ContractError
        If the file has another suffix.
    """
    import pandas as pd

    from pertharness.data.embeddings import read_embedding

    if path.suffix == ".h5ad":
        return read_embedding(path)
    separators = {".csv": ",", ".tsv": "\t"}
    if path.suffix not in separators:
        raise ContractError(f"--slot: {str(path)!r} ends in {path.suffix!r}; expected .h5ad, .csv or .tsv")
    table: pd.DataFrame = pd.read_csv(path, index_col=0, sep=separators[path.suffix])
    return table
