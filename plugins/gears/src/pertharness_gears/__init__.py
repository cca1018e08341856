"""GEARS, run through the published package cell-gears 0.1.2, and the spectral embedding of its GO graph.

Roohani, Huang & Leskovec, Nature Biotechnology 2024, doi 10.1038/s41587-023-01905-6. The environment is
``requirements.lock`` beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness import Card, EmbeddingOffer, ModelOffer, hookimpl, read_settings, settings_of, targets_of

from pertharness_gears.files import DECLARED, OF_DATASET, PATHS, find_files
from pertharness_gears.graph import Ontology, open_ontology
from pertharness_gears.settings import EmbeddingSettings, Settings
from pertharness_gears.training import Fitted, fit_gears

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

REFERENCE = "10.1038/s41587-023-01905-6"
MODEL = ModelOffer(
    name="gears",
    summary=(
        "GEARS: cell-gears 0.1.2 with the published settings, trained only on the cells of train and val. Procedure "
        "'paper' keeps the quirks of the code, 'corrected' removes four of them (README). Neither keeps the quirk that "
        "needs held-out cells: pairing them with controls, and testing them for differential expression"
    ),
    tasks=("double", "single"),
    input="cells",
    **settings_of(Settings),
    file_params=tuple(PATHS),
    uses_validation=True,
    weights=tuple(DECLARED.values()),
    side_files=(OF_DATASET,),
    reference=REFERENCE,
    licence="MIT",
    pretraining="none",
    pretraining_overlap="no",
    information="prior knowledge",
)
EMBEDDING = EmbeddingOffer(
    name="go",
    summary="Spectral embedding of the graph of genes that share GO terms, all edges; k=2, in the paper's text 10",
    kinds=("perturbation", "gene"),
    reference="10.1038/s41592-025-02772-6",
    licence="MIT",
    weights=tuple(DECLARED.values()),
    side_files=(OF_DATASET,),
    **settings_of(EmbeddingSettings),
    file_params=tuple(PATHS),
    deterministic=True,
    cheap=True,
)


@hookimpl
def describe() -> Card:
    """Return the card of the model and the embedding."""
    return Card(models=(MODEL,), embeddings=(EMBEDDING,))


@hookimpl
def embed(train: AnnData, labels: list[str], files: Mapping[str, Path], params: Mapping[str, Any]) -> pd.DataFrame:
    """Return the spectral embedding of the GO graph, a row for each label that is in the graph."""
    from pertharness_gears.embedding import embed_edges

    settings = read_settings(EmbeddingSettings, params, what=EMBEDDING.name)
    return embed_edges(_ontology(train, labels, files, params).edges, labels, settings.k)


@hookimpl
def fit(
    train: AnnData, val: AnnData | None, files: Mapping[str, Path], params: Mapping[str, Any], device: str, seed: int,
    workdir: Path,
) -> Fitted:  # fmt: skip
    """Train GEARS on the cells of `train`; `val` chooses the epoch."""
    settings = read_settings(Settings, params, what=MODEL.name)
    labels = [label for part in (train, val) if part is not None for label in part.obs["perturbation"].unique()]
    ontology = _ontology(train, [target for label in labels for target in targets_of(label)], files, params)
    return fit_gears(train, val, ontology, settings, device, seed, workdir)


@hookimpl
def predict(model: Fitted, controls: AnnData, queries: list[str], seed: int) -> AnnData:
    """Predict the queries; those with a gene outside the GO graph are unanswered."""
    from pertharness_gears.predicting import predict_gears

    return predict_gears(model, controls, queries, seed)


def _ontology(train: AnnData, perturbed: list[str], files: Mapping[str, Path], params: Mapping[str, Any]) -> Ontology:
    """Read the side files; without a list of genes, use those of the data."""
    ontology = open_ontology(find_files(files, params), [*map(str, train.var_names), *perturbed])
    if OF_DATASET not in files or any(params[name] for name in PATHS):
        return ontology
    return replace(ontology, notes=(*ontology.notes, "the data set's own terms are taken for the Gene Ontology"))
