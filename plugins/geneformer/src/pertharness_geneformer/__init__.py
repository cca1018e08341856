"""Geneformer, fine-tuned to tell conditions apart, whose embeddings of perturbed cells are decoded; and its genes.

Theodoris et al., Nature 2023, doi 10.1038/s41586-023-06139-9; the procedure is that of Ahlmann-Eltze, Huber & Anders,
doi 10.1038/s41592-025-02772-6, with version 0.1.0 of the package and its model of 12 layers. The network is BERT of
the transformers library, which is imported when a model is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness import Card, EmbeddingOffer, ModelOffer, hookimpl, read_settings, settings_of

from pertharness_geneformer.settings import EmbeddingFiles, EmbeddingSettings, FileNames, Settings
from pertharness_geneformer.weights import (
    DECLARED,
    OF_EMBEDDING,
    REPLACED,
    REPLACED_OF_EMBEDDING,
    find_files,
    read_published,
)

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from pertharness import Task

    from pertharness_geneformer.fitted import Fitted

REFERENCE = "10.1038/s41586-023-06139-9"
LICENCE = "Apache-2.0"
MODEL = ModelOffer(
    name="geneformer",
    summary=(
        "Geneformer (gf-12L-95M-i4096): fine-tuned to tell conditions apart; control cells are embedded with their "
        "targets deleted or overexpressed in silico, and a linear decoder predicts expression. At published size it "
        "needs a GPU (README). Procedure 'paper' keeps the quirks of the published code, 'corrected' does what it means"
    ),
    tasks=("double", "single"),
    input="cells",
    **settings_of(Settings),
    file_params=tuple(FileNames.model_fields),
    replaces_weights=REPLACED,
    weights=DECLARED,
    reference=REFERENCE,
    licence=LICENCE,
    pretraining=(
        "about 95 million human cells of public data (Genecorpus, as of 2024); its authors state that cells of cancers "
        "were left out"
    ),
    pretraining_overlap="unknown",
    information="prior knowledge",
)
EMBEDDING = EmbeddingOffer(
    name="geneformer",
    summary="Vectors of genes: the table of tokens of Geneformer (gf-12L-95M-i4096), not fine-tuned, 512 dimensions",
    kinds=("gene", "perturbation"),
    reference=REFERENCE,
    licence=LICENCE,
    weights=OF_EMBEDDING,
    **settings_of(EmbeddingSettings),
    file_params=tuple(EmbeddingFiles.model_fields),
    replaces_weights=REPLACED_OF_EMBEDDING,
    deterministic=True,
)


@hookimpl
def describe() -> Card:
    """Return the card of the model and the embedding."""
    return Card(models=(MODEL,), embeddings=(EMBEDDING,))


@hookimpl
def embed(labels: list[str], files: Mapping[str, Path], params: Mapping[str, Any]) -> pd.DataFrame:
    """Return the vectors of the genes that have a token."""
    from pertharness_geneformer.embedding import embed_genes

    settings = read_settings(EmbeddingSettings, params, what=EMBEDDING.name)
    return embed_genes(read_published(find_files(files, settings.files)), labels)


@hookimpl
def fit(
    train: AnnData, task: Task, files: Mapping[str, Path], params: Mapping[str, Any], device: str, seed: int,
    workdir: Path,
) -> Fitted:  # fmt: skip
    """Fine-tune on the cells of `train`, and embed their conditions; targets are changed as the modality says."""
    from pertharness_geneformer.fitting import fit_geneformer

    settings = read_settings(Settings, params, what=MODEL.name)
    published = read_published(find_files(files, settings.files))
    return fit_geneformer(train, task.modality, published, settings, device, seed, workdir)


@hookimpl
def predict(model: Fitted, controls: AnnData, queries: list[str], device: str, seed: int) -> AnnData:
    """Predict the queries whose targets have tokens."""
    from pertharness_geneformer.predicting import predict_geneformer

    return predict_geneformer(model, controls, queries, device, seed)


@hookimpl
def save_model(model: Fitted, folder: Path) -> None:
    """Write the fine-tuned weights and what they need to predict."""
    from pertharness_geneformer.fitted import save_fitted

    save_fitted(model, folder)


@hookimpl
def load_model(folder: Path, device: str) -> Fitted:
    """Return the model that `save_model` wrote."""
    from pertharness_geneformer.fitted import load_fitted

    return load_fitted(folder, device)
