"""scFoundation: gene embeddings of a frozen pretrained network inside the graph model of GEARS.

Hao et al., Nature Methods 2024, doi 10.1038/s41592-024-02305-7. An implementation of our own in torch, which loads the
published checkpoint key for key. The environment is ``requirements.lock`` beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness import Card, EmbeddingOffer, ModelOffer, Skip, hookimpl, read_settings, settings_of
from pertharness_foundation.contents import published_file

from pertharness_scfoundation.settings import EmbeddingFiles, EmbeddingSettings, FileNames, Settings
from pertharness_scfoundation.terms import GENE2GO, OF_DATASET
from pertharness_scfoundation.weights import CHECKPOINT, GENE_LIST, REPLACED, read_gene_list, read_gene_table

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from pertharness_scfoundation.training import Fitted

REFERENCE = "10.1038/s41592-024-02305-7"
WEIGHTS_LICENCE = "Apache-2.0 (code); weights: scFoundation License, non-commercial research only"
MODEL = ModelOffer(
    name="scfoundation",
    summary=(
        "scFoundation: gene embeddings of a frozen network of 119 million parameters inside the graph model of GEARS. "
        "Needs data with all 19 264 genes of its list, and at published size a GPU (README). Procedure 'paper' keeps "
        "the quirks of the published code, 'corrected' undoes them"
    ),
    tasks=("double", "single"),
    input="cells",
    **settings_of(Settings),
    file_params=tuple(FileNames.model_fields),
    replaces_weights=REPLACED,
    uses_validation=True,
    weights=(CHECKPOINT, GENE_LIST, GENE2GO),
    side_files=(OF_DATASET,),
    reference=REFERENCE,
    licence=WEIGHTS_LICENCE,
    pretraining="50 million human cells of public atlases (GEO, HCA, Single Cell Portal, EMBL-EBI and others)",
    pretraining_overlap="unknown",
    information="prior knowledge",
)
EMBEDDING = EmbeddingOffer(
    name="scfoundation",
    summary="Positional table of scFoundation's network: a vector of 768 numbers for each of its 19 264 genes",
    kinds=("gene", "perturbation"),
    reference=REFERENCE,
    licence=WEIGHTS_LICENCE,
    weights=(CHECKPOINT, GENE_LIST),
    **settings_of(EmbeddingSettings),
    file_params=tuple(EmbeddingFiles.model_fields),
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

    named = read_settings(EmbeddingSettings, params, what=EMBEDDING.name).files
    checkpoint = published_file("scfoundation", files, CHECKPOINT, named.checkpoint, "checkpoint")
    genes = read_gene_list(published_file("scfoundation", files, GENE_LIST, named.gene_list, "gene_list"))
    table = read_gene_table(checkpoint, genes)
    row = {gene: number for number, gene in enumerate(genes)}
    known = [label for label in labels if label in row]
    if not known:
        raise Skip(
            f"none of the {len(labels)} genes (first: {labels[:1]}) is among the {len(genes)} of scFoundation's list "
            f"(such as {genes[0]!r}): name genes by symbol"
        )
    values = table[[row[label] for label in known]].double().numpy()
    columns = [f"d{number + 1}" for number in range(values.shape[1])]
    return pd.DataFrame(values, index=pd.Index(known, name="label"), columns=columns)


@hookimpl
def fit(
    train: AnnData, val: AnnData | None, files: Mapping[str, Path], params: Mapping[str, Any], device: str, seed: int,
    workdir: Path,
) -> Fitted:  # fmt: skip
    """Train the graph model on the cells of `train`; `val` chooses the epoch."""
    from pertharness_scfoundation.fitting import fit_model

    settings = read_settings(Settings, params, what=MODEL.name)
    return fit_model(train, val, files, settings, device, seed, workdir)


@hookimpl
def predict(model: Fitted, controls: AnnData, queries: list[str], seed: int) -> AnnData:
    """Predict the queries; those with a gene outside the ontology are not answered."""
    from pertharness_scfoundation.predicting import predict_queries

    return predict_queries(model, controls, queries, seed)


@hookimpl
def save_model(model: Fitted, folder: Path) -> None:
    """Write the trained graph model; the pretrained network stays in its own file."""
    from pertharness_scfoundation.saving import save_fitted

    save_fitted(model, folder)


@hookimpl
def load_model(folder: Path, files: Mapping[str, Path], device: str) -> Fitted:
    """Return the model that `save_model` wrote."""
    from pertharness_scfoundation.saving import load_fitted

    return load_fitted(folder, files, device)
