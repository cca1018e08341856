"""scGPT, fine-tuned from the published whole-human checkpoint; and its embedding of genes.

Cui et al., Nature Methods 2024, doi 10.1038/s41592-024-02201-0; the procedure is that of Ahlmann-Eltze, Huber & Anders,
doi 10.1038/s41592-025-02772-6. The network is our own (``network.py``); torch is imported when a model is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness import Card, EmbeddingOffer, ModelOffer, hookimpl, read_settings, settings_of

from pertharness_scgpt.settings import EmbeddingSettings, Settings
from pertharness_scgpt.weights import DECLARED, PATHS, REPLACED, find_files, read_published

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from pertharness_scgpt.fitted import Fitted

REFERENCE = "10.1038/s41592-024-02201-0"
LICENCE = "MIT (the code; nothing is said of the weights)"
MODEL = ModelOffer(
    name="scgpt",
    summary=(
        "scGPT: the whole-human checkpoint fine-tuned on the cells of train, as published for perturbations. Procedure "
        "'paper' keeps the quirks of the published code, 'corrected' does what it means (README)"
    ),
    tasks=("double", "single"),
    input="cells",
    **settings_of(Settings),
    file_params=(*PATHS, "gene_table"),
    replaces_weights=REPLACED,
    uses_validation=True,
    weights=DECLARED,
    reference=REFERENCE,
    licence=LICENCE,
    pretraining="33 million human cells of CZ CELLxGENE (census of 2023), none of them perturbed on purpose",
    pretraining_overlap="unknown",
    information="prior knowledge",
)
EMBEDDING = EmbeddingOffer(
    name="scgpt",
    summary="Vectors of genes from the whole-human checkpoint of scGPT, not fine-tuned, 512 dimensions",
    kinds=("gene", "perturbation"),
    reference=REFERENCE,
    licence=LICENCE,
    weights=DECLARED,
    **settings_of(EmbeddingSettings),
    file_params=tuple(PATHS),
    replaces_weights=REPLACED,
    deterministic=True,
)


@hookimpl
def describe() -> Card:
    """Return the card of the model and the embedding."""
    return Card(models=(MODEL,), embeddings=(EMBEDDING,))


@hookimpl
def embed(labels: list[str], files: Mapping[str, Path], params: Mapping[str, Any]) -> pd.DataFrame:
    """Return the vectors of the genes that are in the vocabulary."""
    from pertharness_scgpt.embedding import embed_genes

    settings = read_settings(EmbeddingSettings, params, what=EMBEDDING.name)
    return embed_genes(read_published(find_files(files, settings.files)), labels)


@hookimpl
def fit(
    train: AnnData, val: AnnData | None, files: Mapping[str, Path], params: Mapping[str, Any], device: str, seed: int,
    workdir: Path,
) -> Fitted:  # fmt: skip
    """Fine-tune on the cells of `train`; `val` chooses the epoch."""
    from pertharness_scgpt.training import fit_scgpt

    settings = read_settings(Settings, params, what=MODEL.name)
    published = read_published(find_files(files, settings.files))
    return fit_scgpt(train, val, published, settings, device, seed, workdir)


@hookimpl
def predict(model: Fitted, controls: AnnData, queries: list[str], device: str, seed: int) -> AnnData:
    """Predict the queries from drawn controls."""
    from pertharness_scgpt.predicting import predict_scgpt

    return predict_scgpt(model, controls, queries, device, seed)


@hookimpl
def save_model(model: Fitted, folder: Path) -> None:
    """Write the fine-tuned weights and what they need to predict."""
    from pertharness_scgpt.fitted import save_fitted

    save_fitted(model, folder)


@hookimpl
def load_model(folder: Path, device: str) -> Fitted:
    """Return the model that `save_model` wrote."""
    from pertharness_scgpt.fitted import load_fitted

    return load_fitted(folder, device)
