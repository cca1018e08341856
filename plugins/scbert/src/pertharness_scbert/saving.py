"""A fitted model in files: the fine-tuned network, the drawn control cells, and what the decoder is fitted on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from pertharness_foundation.decoder import Conditions
from pertharness_foundation.device import open_device
from pertharness_foundation.saved import load_weights, save_weights

from pertharness_scbert.fitting import Embedder, Fitted
from pertharness_scbert.network import ScBert, Sizes
from pertharness_scbert.pasting import Pool
from pertharness_scbert.settings import Settings

_NETWORK, _POOL = "network.", "pool.tokens"


def save_fitted(fitted: Fitted, folder: Path) -> None:
    """Write a fitted model; the checkpoint is not needed to predict."""
    network, pool = fitted.embedder.network, fitted.embedder.pool
    tensors = {_NETWORK + key: value for key, value in network.state_dict().items()}
    tensors |= {_POOL: torch.from_numpy(pool.tokens), **fitted.conditions.tensors()}
    facts = {
        "settings": fitted.embedder.settings.model_dump(mode="json"), "sizes": asdict(network.sizes),
        "listed": list(pool.genes), "genes": list(fitted.genes), "conditions": fitted.conditions.facts(),
        "notes": list(fitted.notes),
    }  # fmt: skip
    save_weights(folder, tensors, facts)


def load_fitted(folder: Path, device_name: str) -> Fitted:
    """Return the model that `save_fitted` wrote.

    Raises
    ------
    CheckpointError
        If a file is absent or damaged.
    """
    tensors, facts = load_weights(folder)
    state = {key.removeprefix(_NETWORK): value for key, value in tensors.items() if key.startswith(_NETWORK)}
    with torch.device("meta"):
        network: ScBert = ScBert(Sizes(**facts["sizes"]), len(state["to_out.fc3.bias"]))
    network.load_state_dict(state, assign=True)
    network = network.to(open_device(device_name)).eval().requires_grad_(False)
    position = {gene: number for number, gene in enumerate(facts["listed"])}
    pool = Pool(tensors[_POOL].numpy(), position, network.sizes.n_tokens)
    embedder = Embedder(network, pool, Settings.model_validate(facts["settings"]))
    conditions = Conditions.of_saved(tensors, facts["conditions"])
    return Fitted(embedder, tuple(facts["genes"]), conditions, tuple(facts["notes"]))
