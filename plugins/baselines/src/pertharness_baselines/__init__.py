"""The four reference baselines, one module each, and in ``embeddings`` what the slots of ``linear`` may hold.

Definitions: Ahlmann-Eltze, Huber & Anders, Nature Methods 2025, doi 10.1038/s41592-025-02772-6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pertharness import Card, ModelOffer, ParameterHelp, hookimpl

from pertharness_baselines.additive import fit_additive, predict_additive
from pertharness_baselines.embeddings import EMBED, EMBEDDINGS, Request
from pertharness_baselines.linear import fit_linear, predict_linear
from pertharness_baselines.mean import fit_mean, predict_mean
from pertharness_baselines.no_change import fit_no_change, predict_no_change
from pertharness_baselines.saving import (
    load_additive,
    load_linear,
    load_vector,
    save_additive,
    save_linear,
    save_vector,
)

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

_COMMON: dict[str, Any] = {
    "input": "pseudobulk",
    "deterministic": True,
    "cheap": True,
    "reference": "10.1038/s41592-025-02772-6",
    "licence": "MIT",
    "pretraining": "none",
    "pretraining_overlap": "no",
}
_OFFERS = (
    ModelOffer(
        name="no_change",
        summary="The control mean, whatever was perturbed",
        tasks=("double", "single", "transfer"),
        constant=True,
        copies_training=True,
        information="controls",
        **_COMMON,
    ),
    ModelOffer(
        name="additive",
        summary="The sum of the two observed single effects; answers doubles",
        tasks=("double",),
        information="training",
        **_COMMON,
    ),
    ModelOffer(
        name="mean",
        summary="The unweighted mean of the training perturbations",
        tasks=("double", "single", "transfer"),
        params={"ctrl_included": False},
        params_help={
            "ctrl_included": ParameterHelp(type="true or false", help="count the control as one more perturbation")
        },
        constant=True,
        information="training",
        **_COMMON,
    ),
    ModelOffer(
        name="linear",
        summary="Ridge regression between embeddings of genes and of perturbations; answers singles",
        tasks=("single", "transfer"),
        slots={"G": "gene", "P": "perturbation"},
        params={"k": 10, "ridge": 0.1, "variant": "bilinear"},
        params_help={
            "k": ParameterHelp(type="integer >= 1", help="principal components, of slots that are left out"),
            "ridge": ParameterHelp(type="number > 0", help="penalty of both sides of the regression"),
            "variant": ParameterHelp(type="'bilinear' or 'regression'", help="equation; docs/baselines.md"),
        },
        information="training",
        **_COMMON,
    ),
)
_WITH_SLOTS = frozenset(offer.name for offer in _OFFERS if offer.slots)
_FIT: dict[str, Callable[..., object]] = {
    "no_change": fit_no_change, "additive": fit_additive, "mean": fit_mean, "linear": fit_linear,
}  # fmt: skip
_PREDICT: dict[str, Callable[..., AnnData]] = {
    "no_change": predict_no_change, "additive": predict_additive, "mean": predict_mean, "linear": predict_linear,
}  # fmt: skip
_SAVE: dict[str, Callable[..., None]] = {
    "no_change": save_vector, "additive": save_additive, "mean": save_vector, "linear": save_linear,
}  # fmt: skip
_LOAD: dict[str, Callable[[Path], object]] = {
    "no_change": load_vector, "additive": load_additive, "mean": load_vector, "linear": load_linear,
}  # fmt: skip


@hookimpl
def describe() -> Card:
    """Return the card of the four baselines and the embeddings."""
    return Card(models=_OFFERS, embeddings=EMBEDDINGS)


@hookimpl
def embed(
    name: str, kind: str, source: Path | None, train: AnnData, references: Mapping[str, AnnData], labels: list[str],
    params: Mapping[str, Any], seed: int,
) -> pd.DataFrame:  # fmt: skip
    """Return the embedding `name` of genes or of perturbations, a row for each label that has one."""
    reference = next(iter(references.items()), None)
    return EMBED[name](Request(kind, labels, source, train, reference, seed), **params)


@hookimpl
def fit(name: str, train: AnnData, embeddings: Mapping[str, pd.DataFrame], params: Mapping[str, Any]) -> object:
    """Fit the baseline `name` to pseudobulks, one row per training perturbation and one for ``control``."""
    slots = {"embeddings": embeddings} if name in _WITH_SLOTS else {}
    return _FIT[name](train, **slots, **params)


@hookimpl
def predict(name: str, model: object, controls: AnnData, queries: list[str]) -> AnnData:
    """Predict the queries with the baseline `name`; the genes are those of `controls`."""
    return _PREDICT[name](model, list(controls.var_names), queries)


@hookimpl
def save_model(name: str, model: object, folder: Path) -> None:
    """Write the fitted baseline `name` to files."""
    _SAVE[name](model, folder)


@hookimpl
def load_model(name: str, folder: Path) -> object:
    """Return the baseline `name` from its files."""
    return _LOAD[name](folder)
