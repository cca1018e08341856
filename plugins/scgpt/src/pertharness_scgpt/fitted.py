"""A fine-tuned network and what it predicts with, in memory and as files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pertharness_foundation.device import open_device
from pertharness_foundation.saved import load_weights, save_weights

from pertharness_scgpt.data import Genes
from pertharness_scgpt.network import Network, Sizes
from pertharness_scgpt.settings import Settings


@dataclass(frozen=True)
class Fitted:
    """A fine-tuned network.

    Attributes
    ----------
    notes
        Lines for the record.
    """

    network: Network
    genes: Genes
    settings: Settings
    notes: tuple[str, ...]


def save_fitted(fitted: Fitted, folder: Path) -> None:
    """Write a fitted model: its tensors as safetensors, the rest as JSON."""
    genes = fitted.genes
    facts = {
        "sizes": asdict(fitted.network.sizes), "settings": fitted.settings.model_dump(), "notes": list(fitted.notes),
        "genes": {
            "names": list(genes.names), "columns": genes.columns.tolist(), "tokens": genes.tokens.tolist(),
            "missing": dict(genes.missing), "note": genes.note,
        },
    }  # fmt: skip
    save_weights(folder, fitted.network.state_dict(), facts)


def load_fitted(folder: Path, device: str) -> Fitted:
    """Return the model that `save_fitted` wrote; the published files are not needed."""
    tensors, facts = load_weights(folder)
    settings = Settings.model_validate(facts["settings"])
    network = Network(Sizes(**facts["sizes"]), settings.training.dropout)
    network.load_state_dict(tensors)
    return Fitted(network.to(open_device(device)).eval(), _genes(facts["genes"]), settings, tuple(facts["notes"]))


def _genes(facts: Mapping[str, Any]) -> Genes:
    columns, tokens = (np.array(facts[name], dtype=np.int64) for name in ("columns", "tokens"))
    return Genes(tuple(facts["names"]), columns, tokens, facts["missing"], facts["note"])
