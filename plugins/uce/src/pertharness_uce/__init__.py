"""UCE, universal cell embeddings, zero-shot: a linear decoder turns the embedding of made-up cells into expression.

Rosen et al., bioRxiv 2023, doi 10.1101/2023.11.28.568918; the procedure is that of Ahlmann-Eltze, Huber & Anders, doi
10.1038/s41592-025-02772-6. The network is our own (``network.py``). The environment is ``requirements.lock`` beside
this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness import Card, EmbeddingOffer, ModelOffer, Needs, hookimpl, read_settings, settings_of

from pertharness_uce.settings import EmbeddingSettings, Settings
from pertharness_uce.weights import PATHS, declared, replaced

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from pertharness_uce.fitting import Fitted

REFERENCE = "10.1101/2023.11.28.568918"
LICENCE = "MIT (the code); weights: CC-BY-4.0 as reported"
PRETRAINING = "36 million cells of eight species, most of public atlases (CZ CELLxGENE), none perturbed on purpose"
_SUMMARY = (
    "UCE with {layers} layers, not trained: control cells get observed values of the perturbed genes of held-out cells "
    "(an oracle), and a ridge regression on training conditions turns the mean embedding into expression. Procedure "
    "'paper' keeps the quirks of the published code, 'corrected' does what it means (README)"
)


def _offer(name: str, layers: int, needs: Needs) -> ModelOffer:
    return ModelOffer(
        name=name,
        summary=_SUMMARY.format(layers=layers),
        tasks=("double", "single"),
        input="cells",
        **settings_of(Settings),
        file_params=(*PATHS, "gene_table"),
        replaces_weights=replaced(name),
        needs=needs,
        weights=declared(name),
        reference=REFERENCE,
        licence=LICENCE,
        pretraining=PRETRAINING,
        pretraining_overlap="unknown",
        information="oracle",
        oracle="target_expression",
    )


MODEL = _offer("uce", 4, Needs(ram_gb=4))
LARGE_MODEL = _offer("uce_33l", 33, Needs(ram_gb=6))
EMBEDDING = EmbeddingOffer(
    name="uce",
    summary="Token table of UCE: for each gene the mean ESM2 embedding of its proteins, 5120 dimensions",
    kinds=("gene", "perturbation"),
    reference=REFERENCE,
    licence=LICENCE,
    weights=declared("uce"),
    **settings_of(EmbeddingSettings),
    file_params=tuple(PATHS),
    replaces_weights=replaced("uce"),
    deterministic=True,
)


@hookimpl
def describe() -> Card:
    """Return the card of the models and the embedding."""
    return Card(models=(MODEL, LARGE_MODEL), embeddings=(EMBEDDING,))


@hookimpl
def embed(name: str, labels: list[str], files: Mapping[str, Path], params: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows of the genes that have a token."""
    from pertharness_uce.embedding import embed_genes
    from pertharness_uce.weights import find_files, read_published

    settings = read_settings(EmbeddingSettings, params, what=name)
    return embed_genes(read_published(name, find_files(name, files, settings.files)), labels)


@hookimpl
def fit(
    name: str, train: AnnData, files: Mapping[str, Path], params: Mapping[str, Any], device: str, seed: int
) -> Fitted:
    """Embed the training conditions for the decoder."""
    from pertharness_uce.fitting import fit_model

    return fit_model(name, train, files, read_settings(Settings, params, what=name), device, seed)


@hookimpl
def predict(model: Fitted, controls: AnnData, queries: list[str], oracle: AnnData | None, seed: int) -> AnnData:
    """Embed the queries with observed values of their targets, and decode."""
    from pertharness_uce.predicting import predict_queries

    return predict_queries(model, controls, queries, oracle, seed)


@hookimpl
def save_model(model: Fitted, folder: Path) -> None:
    """Write the training conditions; the network stays in its own file."""
    from pertharness_uce.saving import save_fitted

    save_fitted(model, folder)


@hookimpl
def load_model(name: str, folder: Path, files: Mapping[str, Path], device: str) -> Fitted:
    """Return the model that `save_model` wrote."""
    from pertharness_uce.saving import load_fitted

    return load_fitted(name, folder, files, device)
