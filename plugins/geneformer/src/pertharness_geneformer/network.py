"""The network: BERT of the ``transformers`` library, made from published sizes, and the vectors that it gives cells."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from pertharness_foundation.device import Precision, autocast, first_size, in_batches
from torch import Tensor

from pertharness_geneformer.settings import Layer, Pooling
from pertharness_geneformer.weights import Sizes

# Read when it is imported: nothing is asked for on the network, and no use is reported.
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification
from transformers.utils.logging import disable_progress_bar

disable_progress_bar()


def config_of(sizes: Sizes, n_classes: int = 2) -> BertConfig:
    """Return the configuration of a network of some sizes."""
    config = BertConfig(**asdict(sizes), hidden_act="relu", pad_token_id=0, num_labels=n_classes)
    config._attn_implementation = "sdpa"
    return config


def make_classifier(sizes: Sizes, n_classes: int) -> BertForSequenceClassification:
    """Return the network with a head of classes, its weights random from torch's generator."""
    return BertForSequenceClassification(config_of(sizes, n_classes))


def make_pretrained(sizes: Sizes) -> BertForMaskedLM:
    """Return the network with the head that it was pretrained with, which guesses masked genes."""
    return BertForMaskedLM(config_of(sizes))


@dataclass(frozen=True)
class Padded:
    """Cells of a batch: ``ids`` int64 and ``mask`` int64 (1 at tokens), shape (n_cells, length of the longest).

    ``mask`` is None where all are of one length: attention is faster without.
    """

    ids: Tensor
    mask: Tensor | None


def pad(cells: Sequence[np.ndarray], padding: int, device: torch.device) -> Padded:
    """Return cells as tensors on the device, filled up to the longest."""
    lengths = np.array([len(cell) for cell in cells])
    ids = np.full((len(cells), lengths.max()), padding, dtype=np.int64)
    is_token = np.arange(ids.shape[1]) < lengths[:, None]
    ids[is_token] = np.concatenate(cells)
    mask = None if is_token.all() else _to_device(is_token.astype(np.int64), device)
    return Padded(_to_device(ids, device), mask)


def _to_device(array: np.ndarray, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def cell_vectors(encoder: Any, batch: Padded, lengths: Tensor, layer: Layer, pooling: Pooling) -> Tensor:
    """Return a vector of each cell, shape (n_cells, width).

    Parameters
    ----------
    encoder
        BERT without a head.
    lengths
        Tokens of each cell, shape (n_cells,); for the mean over its genes, which has neither of the two special tokens.
    """
    deep = layer == "second_to_last"
    output = encoder(input_ids=batch.ids, attention_mask=batch.mask, output_hidden_states=deep)
    states: Tensor = output.hidden_states[-2] if deep else output.last_hidden_state
    if pooling == "cls":
        return states[:, 0]
    places = torch.arange(states.shape[1], device=states.device)
    is_gene = (places > 0) & (places < lengths[:, None] - 1)
    return (states * is_gene[..., None]).sum(dim=1) / is_gene.sum(dim=1, keepdim=True).clamp(min=1)


@dataclass(frozen=True)
class Embedder:
    """Makes vectors of cells.

    Attributes
    ----------
    network
        A classifier in evaluation mode, whose encoder is used.
    batch_size
        Cells computed at a time, at most.
    """

    network: Any
    padding: int
    device: torch.device
    precision: Precision
    layer: Layer
    pooling: Pooling
    batch_size: int

    def embed(self, cells: Sequence[np.ndarray]) -> Tensor:
        """Return a vector of each cell, float32, on the CPU, shape (n_cells, width)."""
        compute = self._computes(cells)
        size = first_size(self.device, self._bytes_each(cells), most=self.batch_size)
        with torch.inference_mode():
            return torch.cat(list(in_batches(len(cells), compute, size=size))).cpu()

    def mean(self, cells: Sequence[np.ndarray]) -> np.ndarray:
        """Return the mean vector of cells, float64, shape (width,)."""
        mean: np.ndarray = self.embed(cells).numpy().mean(axis=0, dtype=np.float64)
        return mean

    def _computes(self, cells: Sequence[np.ndarray]) -> Callable[[int, int], Tensor]:
        def compute(start: int, stop: int) -> Tensor:
            part = cells[start:stop]
            lengths = torch.tensor([len(cell) for cell in part], device=self.device)
            with autocast(self.device, self.precision):
                vectors = cell_vectors(
                    self.network.bert, pad(part, self.padding, self.device), lengths, self.layer, self.pooling
                )
            return vectors.float()

        return compute

    def _bytes_each(self, cells: Sequence[np.ndarray]) -> float:
        """Return the memory of a cell's largest arrays: hidden states of a layer, and the mask of attention."""
        longest = max(len(cell) for cell in cells)
        config = self.network.config
        layers = config.num_hidden_layers if self.layer == "second_to_last" else 0
        widths = (12 + layers) * config.hidden_size + 2 * config.intermediate_size
        return float(longest * (4 * widths + longest))
