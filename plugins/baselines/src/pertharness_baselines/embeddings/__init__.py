"""Embeddings of genes and perturbations, one idea a module: their offers, and the functions that make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pertharness import EmbeddingOffer

from pertharness_baselines.embeddings.components import embed_pca, embed_transfer
from pertharness_baselines.embeddings.graph import embed_spectral
from pertharness_baselines.embeddings.membership import embed_membership
from pertharness_baselines.embeddings.plain import embed_identity, embed_random, embed_zero
from pertharness_baselines.embeddings.request import Request
from pertharness_baselines.embeddings.table import embed_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EMBED", "EMBEDDINGS", "Request"]

_COMMON: dict[str, Any] = {
    "kinds": ("gene", "perturbation"),
    "reference": "10.1038/s41592-025-02772-6",
    "licence": "MIT",
    "cheap": True,
    "deterministic": True,
}
EMBEDDINGS = (
    EmbeddingOffer(
        name="pca", summary="Principal components of the training data's genes", params={"k": 10}, **_COMMON
    ),
    EmbeddingOffer(
        name="transfer",
        summary="Principal components of another screen's means",
        params={"k": 10},
        takes_reference=True,
        **_COMMON,
    ),
    EmbeddingOffer(
        name="random",
        summary="Standard normal numbers, drawn from the seed",
        params={"k": 10},
        any_label=True,
        **{**_COMMON, "deterministic": False},
    ),
    EmbeddingOffer(name="identity", summary="One column per label", any_label=True, **_COMMON),
    EmbeddingOffer(name="zero", summary="A zero for every label", any_label=True, **_COMMON),
    EmbeddingOffer(name="table", summary="Rows of a table: CSV, TSV, npz or h5ad", takes_file=True, **_COMMON),
    EmbeddingOffer(
        name="spectral",
        summary="Spectral embedding of a weighted gene graph",
        params={"k": 2},
        takes_file=True,
        **_COMMON,
    ),
    EmbeddingOffer(
        name="membership",
        summary="Spectral embedding of a gene x term matrix",
        params={"k": 10},
        takes_file=True,
        **_COMMON,
    ),
)
EMBED: dict[str, Callable[..., pd.DataFrame]] = {
    "pca": embed_pca, "transfer": embed_transfer, "random": embed_random, "identity": embed_identity,
    "zero": embed_zero, "table": embed_table, "spectral": embed_spectral, "membership": embed_membership,
}  # fmt: skip
