"""Checks of a model on planted data, one task at a time: it is fitted and asked as a worker would do it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness.cards import ModelOffer
from pertharness.errors import ContractError, Skip
from pertharness.labels import CONTROL, join_targets
from pertharness.testing.planted import SINGLES, UNSEEN, Posed, pose
from pertharness.testing.subject import Once, Subject, private_places, working_folder
from pertharness.worker import prediction_checks

if TYPE_CHECKING:
    from anndata import AnnData

SEED, OTHER_SEED = 1, 2
TOLERANCE = 1e-6
"""On log1p values: what float64 sums in another order leave below it by far, what float32 leaves is about this."""
CELLS_TOLERANCE = 1e-4
"""The same for models of cells, which are float32: 200 values of 5 summed in another order are off by up to 1e-5."""
SPREAD = 3.0
"""A stochastic model may change by this many times what another seed changes, before the order of cells is to blame."""
FLOOR = -1.0
"""Below any log1p value; a linear model may undershoot 0 by a little."""
MEAN_SHARE = 1 / 3
"""By which the mean prediction may differ from the mean control: planted effects stay below 0.1, log2 makes 0.44."""


@dataclass(frozen=True)
class Answer:
    """A prediction, what the hooks were given for it, and what they changed of that."""

    prediction: AnnData
    controls: AnnData
    queries: list[str]
    changed: tuple[str, ...] = ()

    def means(self) -> dict[str, np.ndarray]:
        """Give the predicted means by query."""
        from pertharness.worker.prediction_checks import as_matrix

        labels = self.prediction.obs["perturbation"].astype(str)
        return dict(zip(labels, as_matrix(self.prediction).astype(float), strict=True))


class ModelTrial:
    """A model and a task posed on planted data."""

    def __init__(self, subject: Subject, offer: ModelOffer, task: str) -> None:
        self.subject, self.offer = subject, offer
        self.posed: Posed = pose(task, offer.input)
        self.refuse = subject.refusal("predict", offer.name)
        self.raw = Once(lambda: self.answer(guarded=False), "answers")
        self.sound = Once(self._sound, "answers, queries, genes, finite or unchanged")
        self.other = Once(lambda: self.answer(seed=OTHER_SEED), "another_seed")

    def answer(
        self, *, seed: int = SEED, guarded: bool = True, shuffled: bool = False, queries: list[str] | None = None,
        val: bool = True,
    ) -> Answer:  # fmt: skip
        """Fit and predict; `shuffled`: with the rows of the training data in another order."""
        from pertharness.canonical import select
        from pertharness.worker.digests import digest

        train = _shuffle(self.posed.train) if shuffled else self.posed.train.copy()
        controls = select(train, [CONTROL])
        given = {"train": train, "controls": controls}
        before = {name: digest(adata) for name, adata in given.items()}
        asked = self.posed.queries if queries is None else queries
        files = self.subject.files_of(self.offer)
        common: dict[str, Any] = {"name": self.offer.name, "task": self.posed.task, "device": "cpu", "seed": seed}
        fit, predict = (self.subject.hook(name, self.offer.name, guarded=guarded) for name in ("fit", "predict"))
        with working_folder() as workdir:
            model = fit(
                train=train, val=self.posed.val.copy() if val and self.offer.uses_validation else None,
                embeddings=_embeddings(self.offer.slots), references=self.posed.references, files=files,
                params=self.offer.params, workdir=workdir, **common,
            )  # fmt: skip
            prediction = predict(
                model=model, controls=controls, queries=list(asked), oracle=None, workdir=workdir, **common
            )
        prediction_checks.check_form(prediction, self.refuse)
        changed = tuple(name for name, adata in given.items() if digest(adata) != before[name])
        return Answer(prediction, controls, list(asked), changed)

    def _sound(self) -> Answer:
        """Give the raw answer where it keeps the contracts; each of these has a check of its own."""
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
            raise Skip("not tried, because the training data are changed: see unchanged")
        return answer

    def within(self, first: Answer, second: Answer, what: str) -> None:
        """Hold two answers to the queries that both have against each other."""
        one, other = first.means(), second.means()
        allowed = CELLS_TOLERANCE if self.offer.input == "cells" else TOLERANCE
        why = f"{allowed:g}"
        if not self.offer.deterministic:
            seeds = _difference(self.sound().means(), self.other().means())
            allowed, why = max(allowed, SPREAD * seeds), f"{SPREAD:g} times what another seed changes ({seeds:.2g})"
        if missing := sorted(set(second.queries) & (set(one) ^ set(other))):
            raise ContractError(f"{what}: {missing[0]!r} is answered once and declined once")
        difference = _difference(one, other)
        if difference > allowed:
            raise ContractError(f"{what}: answers differ by up to {difference:.2g}, allowed {why}")


def _shuffle(train: AnnData) -> AnnData:
    """Put the rows in another order; cells are numbered anew, so that no name tells the old one."""
    order = np.random.default_rng(3).permutation(train.n_obs)
    shuffled = train[order].copy()
    if train.uns["pertharness"]["level"] == "cells":
        shuffled.obs_names = [str(i) for i in range(train.n_obs)]
    return shuffled


def _embeddings(slots: Mapping[str, str]) -> dict[str, Any]:
    """Give an embedding of three dimensions for each slot."""
    import pandas as pd

    from pertharness.testing.planted import GENES

    labels = {"gene": GENES, "perturbation": SINGLES}
    rng = np.random.default_rng(4)
    return {
        slot: pd.DataFrame(rng.normal(size=(len(labels[kind]), 3)), index=pd.Index(labels[kind], name="label"))
        for slot, kind in slots.items()
    }


def _difference(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """Give the largest difference over the queries in both; infinity where one has no number and the other has one."""
    largest = 0.0
    for query in set(one) & set(other):
        if (np.isnan(one[query]) != np.isnan(other[query])).any():
            return float("inf")
        largest = max(largest, float(np.nanmax(np.abs(one[query] - other[query]), initial=0.0)))
    return largest


def check_answers(trial: ModelTrial) -> None:
    """It fits, and answers at least one query of a task that its card says it can do."""
    answer = trial.raw()
    if not answer.prediction.n_obs:
        reasons = dict(answer.prediction.uns.get("unanswered", {}))
        raise ContractError(
            f"no query of the task {trial.posed.task.name!r} is answered ({reasons}); leave the task out of the card, "
            "or answer it"
        )


def check_queries(trial: ModelTrial) -> None:
    """Each query is answered once, or declined with a reason; no other label is in the answer."""
    answer = trial.raw()
    prediction_checks.check_queries(answer.prediction, answer.queries, trial.refuse)


def check_genes(trial: ModelTrial) -> None:
    """The answer has a column for every gene of the controls, in their order."""
    answer = trial.raw()
    prediction_checks.check_genes(answer.prediction.var_names, answer.controls.var_names, trial.refuse)


def check_finite(trial: ModelTrial) -> None:
    """All values are finite, but for whole genes that are named as not predicted, with the reason."""
    prediction_checks.check_values(trial.raw().prediction, trial.refuse)


def check_unchanged(trial: ModelTrial) -> None:
    """Training data and controls are left as they were."""
    if changed := trial.raw().changed:
        raise ContractError(f"{' and '.join(changed)} changed; work on a copy, e.g. train = train.copy()")


def check_scale(trial: ModelTrial) -> None:
    """Predictions are means of log1p of counts per 10 000: in their range, and near the controls on average."""
    from pertharness.canonical import LOG1P_CEILING, control_mean

    values = np.array(list(trial.sound().means().values()))
    y0 = control_mean(trial.posed.controls)
    low, high, mean = np.nanmin(values), np.nanmax(values), np.nanmean(values)
    if low < FLOOR or high > LOG1P_CEILING:
        raise ContractError(
            f"predictions reach from {low:.3g} to {high:.3g}; expected log1p of counts per 10 000, from 0 to 9.21"
        )
    if abs(mean - y0.mean()) > MEAN_SHARE * y0.mean():
        raise ContractError(
            f"the mean prediction is {mean:.3g}, that of the controls {y0.mean():.3g}; expected expression, log1p of "
            "counts per 10 000: not the change from control, not counts, not scaled values"
        )


def check_same_seed(trial: ModelTrial) -> None:
    """The same seed gives the same answer."""
    one, other = trial.sound().means(), trial.answer().means()
    if set(one) != set(other) or _difference(one, other) > TOLERANCE:
        raise ContractError(
            f"two runs with seed {SEED} differ by up to {_difference(one, other):.2g}; draw from a generator made of "
            "the argument 'seed' alone, e.g. numpy.random.default_rng(seed)"
        )


def check_another_seed(trial: ModelTrial) -> None:
    """Another seed gives an answer too: the same one where the card says deterministic."""
    difference = _difference(trial.sound().means(), trial.other().means())
    if trial.offer.deterministic and difference > TOLERANCE:
        raise ContractError(f"the card says deterministic, and another seed changes the answer by {difference:.2g}")


def check_shuffled_cells(trial: ModelTrial) -> None:
    """The order of the training data's rows does not matter."""
    trial.within(trial.sound(), trial.answer(shuffled=True), "training rows in another order")


def check_one_query(trial: ModelTrial) -> None:
    """A query asked alone is answered as it is among others."""
    query = next(iter(trial.sound().means()))
    trial.within(trial.sound(), trial.answer(queries=[query]), "one query alone")


def check_query_order(trial: ModelTrial) -> None:
    """The order of the queries does not matter."""
    trial.within(trial.sound(), trial.answer(queries=trial.posed.queries[::-1]), "queries in another order")


def check_unseen_gene(trial: ModelTrial) -> None:
    """A perturbation of a gene that the data lack is answered, or declined with a reason; the others are answered."""
    trial.sound()
    targets = [SINGLES[0], UNSEEN] if trial.posed.task.name == "double" else [UNSEEN]
    queries = [*trial.posed.queries, join_targets(targets)]
    if not set(trial.answer(queries=queries).means()) & set(trial.posed.queries):
        raise ContractError(f"with the query {queries[-1]!r} among them, no query is answered any more")


def check_own_folder(trial: ModelTrial) -> None:
    """Nothing is written outside the folder of the job: home, temporary and package folders stay as they were."""
    import importlib.util

    spec = importlib.util.find_spec(trial.subject.ref.module)
    package = [Path(place) for place in (spec.submodule_search_locations if spec else None) or []]
    before = _files(package)
    trial.sound()
    with working_folder() as folder, private_places(folder) as places:
        around = _files([folder])
        trial.answer()
        # Caches and settings of other packages (fonts, compiled code) go there by convention.
        left = {path for path in _files([folder]) - around if not {".cache", ".config"} & {*path.parts}}
        inside = {path for path in left if path.relative_to(folder).parts[0].startswith("check-")}
    outside = sorted((left - inside) | (_files(package) - before))
    if outside:
        home = {path: name for name, path in places.items()}
        where = next((name for path, name in home.items() if outside[0].is_relative_to(path)), str(outside[0].parent))
        raise ContractError(
            f"{len(outside)} files were left outside the job's folder (first: {outside[0].name!r} in {where}); "
            "write to 'workdir', and remove temporary files"
        )


def _files(folders: list[Path]) -> set[Path]:
    return {
        path for folder in folders for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }


def check_without_val(trial: ModelTrial) -> None:
    """It is fitted without validation data too: a split may have none."""
    trial.sound()
    trial.answer(val=False)


MODEL_CHECKS: dict[str, Callable[[ModelTrial], None]] = {
    "answers": check_answers, "queries": check_queries, "genes": check_genes, "finite": check_finite,
    "unchanged": check_unchanged, "scale": check_scale, "same_seed": check_same_seed,
    "another_seed": check_another_seed, "shuffled_cells": check_shuffled_cells, "one_query": check_one_query,
    "query_order": check_query_order, "unseen_gene": check_unseen_gene, "own_folder": check_own_folder,
    "without_val": check_without_val,
}  # fmt: skip
