"""scBERT: fine-tuned to tell training conditions apart, its embeddings decoded to expression; and its gene vectors.

Yang et al., Nature Machine Intelligence 2022, doi 10.1038/s42256-022-00534-z; the procedure is that of Ahlmann-Eltze,
Huber & Anders, doi 10.1038/s41592-025-02772-6. An implementation of our own in torch, which loads the published
checkpoint key for key. The environment is ``requirements.lock`` beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness import Card, EmbeddingOffer, ModelOffer, hookimpl, read_settings, settings_of

from pertharness_scbert.settings import EmbeddingSettings, FileNames, Settings
from pertharness_scbert.weights import CHECKPOINT, GENE_LIST, REPLACED, read_published

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from pertharness_scbert.fitting import Fitted

REFERENCE = "10.1038/s42256-022-00534-z"
LICENCE = "GPL-3.0 (code and weights of the authors, for research; this plugin is MIT)"
MODEL = ModelOffer(
    name="scbert",
    summary=(
        "scBERT: a Performer over 16 906 genes, fine-tuned on the labels of training conditions alone; its embeddings "
        "of control cells with observed values of the targets pasted in are decoded by ridge regression. At published "
        "size fine-tuning needs a GPU (README). Procedure 'paper' keeps the quirks of the published code, 'corrected' "
        "undoes them"
    ),
    tasks=("double", "single"),
    input="cells",
    **settings_of(Settings),
    file_params=tuple(FileNames.model_fields),
    replaces_weights=REPLACED,
    weights=(CHECKPOINT, GENE_LIST),
    reference=REFERENCE,
    licence=LICENCE,
    pretraining="1.1 million human cells of PanglaoDB, 209 data sets of 74 tissues",
    pretraining_overlap="unknown",
    information="oracle",
    oracle="target_expression",
    gene_list=GENE_LIST.wanted,
)
EMBEDDING = EmbeddingOffer(
    name="scbert",
    summary="Table of positions of scBERT (gene2vec): a vector of 200 numbers for each of its 16 906 genes",
    kinds=("gene", "perturbation"),
    reference=REFERENCE,
    licence=LICENCE,
    weights=(CHECKPOINT, GENE_LIST),
    **settings_of(EmbeddingSettings),
    file_params=tuple(FileNames.model_fields),
    replaces_weights=REPLACED,
    deterministic=True,
)


@hookimpl
def describe() -> Card:
    """Return the card of the model and the embedding."""
    return Card(models=(MODEL,), embeddings=(EMBEDDING,))


@hookimpl
def embed(labels: list[str], files: Mapping[str, Path], params: Mapping[str, Any]) -> pd.DataFrame:
    """Return the positional vectors of the genes that are in the gene list."""
    import pandas as pd

    from pertharness_scbert.weights import known_genes

    settings = read_settings(EmbeddingSettings, params, what=EMBEDDING.name)
    published = read_published(files, settings.files, any_order=settings.listing.any_order)
    row = known_genes(labels, published.genes)
    values = published.state["pos_emb.emb.weight"][list(row.values())].double().numpy()
    columns = [f"d{number + 1}" for number in range(values.shape[1])]
    return pd.DataFrame(values, index=pd.Index(list(row), name="label"), columns=columns)


@hookimpl
def fit(
    train: AnnData, files: Mapping[str, Path], params: Mapping[str, Any], device: str, seed: int, workdir: Path
) -> Fitted:
    """Fine-tune on the labels of the cells of `train`, and embed its conditions."""
    from pertharness_scbert.fitting import fit_model

    settings = read_settings(Settings, params, what=MODEL.name)
    return fit_model(train, files, settings, device, seed, workdir)


@hookimpl
def predict(model: Fitted, controls: AnnData, queries: list[str], oracle: AnnData | None, seed: int) -> AnnData:
    """Predict the queries from what the oracle says of their targets."""
    from pertharness_scbert.predicting import predict_queries

    return predict_queries(model, controls, queries, oracle, seed)


@hookimpl
def save_model(model: Fitted, folder: Path) -> None:
    """Write the fine-tuned network and what the decoder is fitted on."""
    from pertharness_scbert.saving import save_fitted

    save_fitted(model, folder)


@hookimpl
def load_model(folder: Path, device: str) -> Fitted:
    """Return the model that `save_model` wrote."""
    from pertharness_scbert.saving import load_fitted

    return load_fitted(folder, device)
