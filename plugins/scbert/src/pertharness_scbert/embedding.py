"""The embedding of a condition: the mean encoding of control cells with its targets' values pasted in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from pertharness_foundation.device import first_size, in_batches

from pertharness_scbert.settings import Choices, Settings

if TYPE_CHECKING:
    from pertharness_scbert.network import ScBert

FIRST = 3
"""Cells of a condition that the published loop visits."""
MOST = 16
"""Cells of a batch; more are no faster."""


def n_embedded(settings: Settings) -> int:
    """Return how many of a condition's cells are embedded."""
    n_cells = settings.cells.control_cells
    return min(FIRST, n_cells) if settings.choices().embedded_cells == "first_3" else n_cells


def embed_condition(network: ScBert, tokens: np.ndarray, settings: Settings) -> np.ndarray:
    """Return the embedding of a condition.

    Cells are embedded one at a time, as published: batches here have a maximum of keys for each cell.

    Parameters
    ----------
    network
        In evaluation mode.
    tokens
        Of its cells, uint8, shape (n_cells, length).

    Returns
    -------
    ndarray
        float64, shape (dim,).
    """
    choices = settings.choices()
    total = np.zeros(network.sizes.dim)
    for part in embed_cells(network, tokens, choices):
        total += part.sum(axis=0)
    return total / (settings.cells.control_cells if choices.embedding_mean == "hundredth" else len(tokens))


def embed_cells(network: ScBert, tokens: np.ndarray, choices: Choices) -> list[np.ndarray]:
    """Return the mean encodings of cells, float64, in parts of shape (cells, dim)."""
    device = network.norm.weight.device
    positions = choices.position_table == "on"
    before, network.performer.key_maximum = network.performer.key_maximum, "cell"

    def compute(start: int, stop: int) -> np.ndarray:
        with torch.inference_mode():
            ids = torch.from_numpy(tokens[start:stop].astype(np.int64)).to(device)
            encoded: np.ndarray = network.mean_encoding(ids, positions=positions).double().cpu().numpy()
            return encoded

    size = len(tokens)
    if positions:
        # On a CPU, one at a time: a batch is no faster there, and takes the memory of its cells.
        size = first_size(device, memory_of_cell(network), most=MOST) if device.type == "cuda" else 1
    try:
        return list(in_batches(len(tokens), compute, size=size))
    finally:
        network.performer.key_maximum = before


def memory_of_cell(network: ScBert) -> float:
    """Return the bytes of the largest arrays of a cell while it is embedded: features, and queries, keys and values."""
    sizes = network.sizes
    return 4.0 * sizes.length * (sizes.heads * (2 * sizes.n_features + 4 * sizes.dim_head) + 6 * sizes.dim)
