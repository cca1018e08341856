"""The pretrained network at work: gene embeddings of a batch; what is constant over cells is worked out once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from pertharness_foundation.device import Precision, autocast
from torch import Tensor

from pertharness_scfoundation.cells import Cells, extend, tokenise
from pertharness_scfoundation.network import KeyMaximum, ScFoundation

CALIBRATION_CELLS = 32
"""Control cells whose largest key exponents become the constants of ``key_maximum = "constant"``."""


@dataclass(frozen=True)
class Embedder:
    """Gene embeddings of cells by the frozen network.

    Attributes
    ----------
    network
        In evaluation mode, on `device`.
    background
        What `ScFoundation.background` returns.
    key_maxima
        Of each layer of the decoder; see `pertharness_scfoundation.network.Decoder`.
    """

    network: ScFoundation
    background: Tensor
    key_maxima: tuple[KeyMaximum, ...]
    device: torch.device
    precision: Precision

    def embed(self, cells: Cells) -> Tensor:
        """Return the gene embeddings of a batch, shape (cells, n_genes, decoder width), float32, without gradients."""
        with torch.no_grad(), autocast(self.device, self.precision):
            decoded = self.network.decode(self._decoder_input(cells), self.key_maxima)
        return decoded[:, : self.network.sizes.n_genes].float()

    def _decoder_input(self, cells: Cells) -> Tensor:
        tokens = tokenise(extend(cells.expression, cells.totals), self.network.sizes.pad_token).to(self.device)
        return self.network.decoder_input(tokens, self.network.encode(tokens), self.background)

    def calibrated(self, controls: Cells, batch_size: int, rng: np.random.RandomState) -> Embedder:
        """Return an embedder with constants: the largest key exponents of some control cells.

        Whatever cells share a batch then, each has the same embeddings.
        """
        n_cells = min(CALIBRATION_CELLS, len(controls.totals))
        rows = np.sort(rng.choice(len(controls.totals), n_cells, replace=False))
        parts = [rows[start : start + batch_size] for start in range(0, n_cells, batch_size)]
        with torch.no_grad(), autocast(self.device, self.precision):
            maxima = [self.network.decoder.largest_keys(self._decoder_input(controls.take(part))) for part in parts]
        return self.with_maxima([max(of_layer) for of_layer in zip(*maxima, strict=True)])

    def with_maxima(self, key_maxima: Sequence[KeyMaximum]) -> Embedder:
        """Return an embedder with other key maxima."""
        return replace(self, key_maxima=tuple(key_maxima))


def make_embedder(network: ScFoundation, device: torch.device, precision: Precision) -> Embedder:
    """Return an embedder that takes the largest keys of each batch, as published."""
    network = network.to(device)
    with torch.no_grad():
        background = network.background()
    published: list[KeyMaximum] = ["batch"] * network.sizes.decoder_depth
    return Embedder(network, background, tuple(published), device, precision)
