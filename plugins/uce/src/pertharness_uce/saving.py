"""A fitted model in files: the training conditions and the genes; of the network only what no file has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pertharness_foundation.decoder import Conditions
from pertharness_foundation.device import open_device
from pertharness_foundation.saved import load_weights, save_weights
from torch import Tensor

from pertharness_uce.embedder import TokenVectors, encode_tokens, make_embedder
from pertharness_uce.fitting import Fitted
from pertharness_uce.genes import Genes
from pertharness_uce.network import Network, Sizes
from pertharness_uce.sentences import Places
from pertharness_uce.settings import Settings
from pertharness_uce.weights import find_files, read_published

_PLACES = ("tokens", "chromosomes", "starts")


def save_fitted(fitted: Fitted, folder: Path) -> None:
    """Write a fitted model.

    Network and tokens are written, too, where they are not those of the card: files of the user's may be gone.
    """
    genes, embedder = fitted.genes, fitted.embedder
    tensors: dict[str, Tensor] = fitted.conditions.tensors()
    tensors |= {f"genes.{name}": torch.from_numpy(getattr(genes.places, name)) for name in _PLACES}
    tensors["genes.columns"] = torch.from_numpy(genes.columns)
    if any(fitted.settings.files.model_dump().values()):
        tensors |= {f"network.{key}": value for key, value in embedder.network.state_dict().items()}
        tensors |= {"tokens": torch.from_numpy(embedder.known.tokens), "vectors": embedder.known.vectors}
    facts = {
        "settings": fitted.settings.model_dump(mode="json"), "names": list(genes.names),
        "first_chromosome": genes.places.first_chromosome, "conditions": fitted.conditions.facts(),
        "sizes": asdict(embedder.network.sizes), "notes": list(fitted.notes), "gene_notes": list(genes.notes),
    }  # fmt: skip
    save_weights(folder, tensors, facts)


def load_fitted(name: str, folder: Path, files: Mapping[str, Path], device_name: str) -> Fitted:
    """Return the model that `save_fitted` wrote."""
    tensors, facts = load_weights(folder)
    settings = Settings.model_validate(facts["settings"])
    device = open_device(device_name)
    genes = _genes(tensors, facts)
    if "vectors" in tensors:
        network = _network(tensors, facts)
        known = TokenVectors(tensors["tokens"].numpy(), tensors["vectors"].to(device))
    else:
        published = read_published(name, find_files(name, files, settings.files))
        network, known = published.network, encode_tokens(published, genes.places, device)
    conditions = Conditions.of_saved(tensors, facts["conditions"])
    embedder = make_embedder(network, known, settings, device)
    return Fitted(embedder, genes, conditions, settings, tuple(facts["notes"]))


def _genes(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Genes:
    tokens, chromosomes, starts = (tensors[f"genes.{name}"].numpy() for name in _PLACES)
    places = Places(tokens, chromosomes, starts, facts["first_chromosome"])
    return Genes(tuple(facts["names"]), tensors["genes.columns"].numpy(), places, tuple(facts["gene_notes"]))


def _network(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Network:
    with torch.device("meta"):
        network: Network = Network(Sizes(**facts["sizes"])).eval()
    state = {key.removeprefix("network."): value for key, value in tensors.items() if key.startswith("network.")}
    network.load_state_dict(state, assign=True)
    network.requires_grad_(False)
    return network
