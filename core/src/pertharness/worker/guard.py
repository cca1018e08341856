"""The Guard: checks the contract of every hook on its arguments and its result."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness.contract.errors import DataError
from pertharness.contract.hookspecs import hookimpl
from pertharness.contract.jobs import Job
from pertharness.contract.protocol import PROTOCOL
from pertharness.files.whole import sha256_file
from pertharness.worker.digests import changed_arguments, copy_hint, digest_arguments
from pertharness.worker.model_files import check_saved
from pertharness.worker.prediction_checks import check_prediction
from pertharness.worker.refusals import Refuse, check_anndata, check_known, refusal_of

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from pertharness.contract.cards import Card


class Guard:
    """A pluggy wrapper around every hook of one job's plugin.

    Digests of all arguments are compared before and after the call, because data that a hook changes in place would
    reach later readers.

    Parameters
    ----------
    known_digests
        Digests of arguments, by name, that were computed earlier because several jobs share the objects.

    Raises
    ------
    ContractError
        If a contract is broken; it names the plugin, the hook and the value. The record becomes ``invalid``.
    """

    def __init__(self, job: Job, known_digests: Mapping[str, str] = MappingProxyType({})) -> None:
        self.plugin = job.plugin.name
        self.offer = job.name
        self.known_digests = known_digests

    def refusal(self, hook: str) -> Refuse:
        """Return a function that makes the exceptions of one hook."""
        return refusal_of(self.plugin, hook, self.offer)

    def _watch(self, hook: str, **arguments: Any) -> Generator[None, Any, Any]:
        """Run the hook, check that its arguments did not change, and return its result."""
        unknown = {name: value for name, value in arguments.items() if name not in self.known_digests}
        before = {**self.known_digests, **digest_arguments(unknown)}
        answer = yield
        changed = changed_arguments(before, arguments)
        if changed:
            raise self.refusal(hook)(f"changed {changed[0]!r}; work on a copy: {copy_hint(changed[0])}")
        return answer

    @hookimpl(wrapper=True)
    def describe(self) -> Generator[None, Any, Any]:
        """Check that the result is a card with a supported hook protocol."""
        from pertharness.contract.cards import Card

        card = yield
        refuse = self.refusal("describe")
        if not isinstance(card, Card):
            raise refuse(f"returned {type(card).__name__}, expected a pertharness.Card")
        if card.protocol != PROTOCOL:
            raise refuse(
                f"the plugin speaks hook protocol {card.protocol}, this version of pertharness speaks {PROTOCOL}; "
                "install a version of the plugin, or of pertharness, that fits"
            )
        _check_names(card, refuse)
        return card

    @hookimpl(wrapper=True)
    def load_dataset(self, name: str, params: Mapping[str, Any]) -> Generator[None, Any, Any]:
        """Check that the dataset is canonical."""
        adata = yield from self._watch("load_dataset", params=params)
        check_loaded(adata, name, self.refusal("load_dataset"))
        return adata

    @hookimpl(wrapper=True)
    def make_side_file(self, params: Mapping[str, Any]) -> Generator[None, Any, Any]:
        """Check that no argument has changed."""
        return (yield from self._watch("make_side_file", params=params))

    @hookimpl(wrapper=True)
    def embed(
        self, train: AnnData, references: Mapping[str, AnnData], labels: list[str], files: Mapping[str, Path],
        params: Mapping[str, Any],
    ) -> Generator[None, Any, Any]:  # fmt: skip
        """Check that each row is a requested label, without duplicates, and that values are finite numbers."""
        table = yield from self._watch(
            "embed", train=train, references=references, labels=labels, files=files, params=params
        )
        check_embedding(table, labels, self.refusal("embed"))
        return table

    @hookimpl(wrapper=True)
    def fit(
        self, train: AnnData, val: AnnData | None, embeddings: Mapping[str, pd.DataFrame],
        references: Mapping[str, AnnData], files: Mapping[str, Path], params: Mapping[str, Any],
    ) -> Generator[None, Any, Any]:  # fmt: skip
        """Check that the result is a model."""
        model = yield from self._watch(
            "fit", train=train, val=val, embeddings=embeddings, references=references, files=files, params=params
        )
        if model is None:
            raise self.refusal("fit")("returned None, expected the fitted model (any other object)")
        return model

    @hookimpl(wrapper=True)
    def predict(self, controls: AnnData, queries: list[str], oracle: AnnData | None) -> Generator[None, Any, Any]:
        """Check the genes and their order, the queries, and the values of the prediction."""
        prediction = yield from self._watch("predict", controls=controls, queries=queries, oracle=oracle)
        check_prediction(prediction, controls, queries, self.refusal("predict"))
        return prediction

    @hookimpl(wrapper=True)
    def save_model(self, folder: Path) -> Generator[None, Any, Any]:
        """Check that the folder holds files, and no links."""
        answer = yield
        check_saved(folder, self.refusal("save_model"))
        return answer

    @hookimpl(wrapper=True)
    def load_model(self, folder: Path, files: Mapping[str, Path]) -> Generator[None, Any, Any]:
        """Check that the result is a model, and that its files are left as they were."""
        before = sha256_file(folder)
        model = yield from self._watch("load_model", files=files)
        if sha256_file(folder) != before:
            raise self.refusal("load_model")("changed files in 'folder'; write to a folder of tempfile instead")
        if model is None:
            raise self.refusal("load_model")("returned None, expected the fitted model (any other object)")
        return model

    @hookimpl(wrapper=True)
    def score(
        self, truth: AnnData, prediction: AnnData, controls: AnnData, train: AnnData, screen: AnnData,
        references: Mapping[str, AnnData], params: Mapping[str, Any],
    ) -> Generator[None, Any, Any]:  # fmt: skip
        """Check that no argument has changed; ``score_checks`` checks the table."""
        return (
            yield from self._watch(
                "score", truth=truth, prediction=prediction, controls=controls, train=train, screen=screen,
                references=references, params=params,
            )
        )  # fmt: skip


def _check_names(card: Card, refuse: Refuse) -> None:
    """Raise an error for a card with two offers of one kind and name."""
    for kind in ("datasets", "embeddings", "models", "scorers"):
        names = [offer.name for offer in getattr(card, kind)]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise refuse(f"duplicate name {repeated[0]!r} in the card's {kind}")


def check_loaded(adata: Any, name: str, refuse: Refuse) -> None:
    """Raise an error for a dataset that is not canonical."""
    from pertharness.data.canonical import check_dataset
    from pertharness.data.stored import Stored

    if not isinstance(adata, Stored):
        check_anndata(adata, refuse)
    try:
        check_dataset(adata, name)
    except DataError as error:
        raise refuse(str(error)) from None


def check_embedding(table: Any, labels: list[str], refuse: Refuse) -> None:
    """Raise an error for an embedding with unknown labels, or with values that are not finite numbers."""
    import pandas as pd

    if not isinstance(table, pd.DataFrame) or not len(table.columns):
        raise refuse(f"returned {type(table).__name__}, expected a DataFrame with a column per dimension")
    check_known("label", table.index, labels, refuse)
    values = table.to_numpy()
    if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise refuse("the embedding has values that are not finite numbers; leave out such labels")
