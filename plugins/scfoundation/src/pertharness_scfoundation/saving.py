"""A fitted model in files: what was trained, its graphs and names; of the pretrained network only what no file has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pertharness_foundation.contents import published_file
from pertharness_foundation.device import choose_precision, open_device
from pertharness_foundation.saved import load_weights, save_weights
from torch import Tensor

from pertharness_scfoundation.cells import Columns
from pertharness_scfoundation.embedder import make_embedder
from pertharness_scfoundation.graphs import Graph
from pertharness_scfoundation.network import Dimensions, ScFoundation
from pertharness_scfoundation.settings import Settings
from pertharness_scfoundation.training import Fitted, make_head
from pertharness_scfoundation.weights import CHECKPOINT, read_pretrained

_GRAPHS = ("coexpression", "ontology")


def save_fitted(fitted: Fitted, folder: Path) -> None:
    """Write a fitted model.

    The pretrained network is written, too, where it is not that of the card: a file of the user's may be gone.
    """
    settings = fitted.settings
    tensors: dict[str, Tensor] = {f"head.{key}": value for key, value in fitted.head.state_dict().items()}
    for name, graph in zip(_GRAPHS, fitted.graphs, strict=True):
        parts = {"source": graph.source, "target": graph.target, "weight": graph.weight}
        tensors |= {f"{name}.{part}": torch.from_numpy(values) for part, values in parts.items()}
    if settings.files.checkpoint:
        tensors |= {f"network.{key}": value for key, value in fitted.embedder.network.state_dict().items()}
    facts = {
        "settings": settings.model_dump(mode="json"), "columns": asdict(fitted.columns),
        "vocabulary": fitted.vocabulary,
        "key_maxima": list(fitted.embedder.key_maxima), "sizes": asdict(fitted.embedder.network.sizes),
        "notes": list(fitted.notes),
    }  # fmt: skip
    save_weights(folder, tensors, facts)


def load_fitted(folder: Path, files: Mapping[str, Path], device_name: str) -> Fitted:
    """Return the model that `save_fitted` wrote.

    Raises
    ------
    Skip
        If the checkpoint of the card, which it needs, is not there.
    """
    tensors, facts = load_weights(folder)
    settings = Settings.model_validate(facts["settings"])
    columns = Columns(**{**facts["columns"], "genes": tuple(facts["columns"]["genes"])})
    device = open_device(device_name)
    network = _network(tensors, facts, files, columns)
    precision = choose_precision(device, settings.predicting.precision, proven=False)
    embedder = make_embedder(network, device, precision).with_maxima(facts["key_maxima"])
    vocabulary = facts["vocabulary"]
    n_nodes = dict(zip(_GRAPHS, (network.sizes.n_genes, len(tensors["head.pert_emb.weight"])), strict=True))
    coexpression, ontology = (_graph(_below(tensors, f"{name}."), n_nodes[name]) for name in _GRAPHS)
    head = make_head(embedder, (coexpression, ontology), settings.choices(), seed=0)
    head.load_state_dict(_below(tensors, "head."))
    return Fitted(embedder, head.eval(), columns, vocabulary, (coexpression, ontology), settings, tuple(facts["notes"]))


def _graph(parts: Mapping[str, Tensor], n_nodes: int) -> Graph:
    return Graph(parts["source"].numpy(), parts["target"].numpy(), parts["weight"].numpy(), n_nodes)


def _network(
    tensors: Mapping[str, Tensor], facts: Mapping[str, Any], files: Mapping[str, Path], columns: Columns
) -> ScFoundation:
    """Return the pretrained network: of the folder where it was saved, else of the card's checkpoint."""
    saved = _below(tensors, "network.")
    if not saved:
        checkpoint = published_file("scfoundation", files, CHECKPOINT, "", "checkpoint")
        return read_pretrained(checkpoint, columns.genes).network
    with torch.device("meta"):
        network: ScFoundation = ScFoundation(Dimensions(**facts["sizes"])).eval()
    network.load_state_dict(saved, assign=True)
    network.requires_grad_(False)
    return network


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
