"""The network at work: embeddings of cells from their sentences, and of a condition from its cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pertharness_foundation.device import Precision, autocast, choose_precision, first_size, in_batches
from pertharness_foundation.log import log_line
from torch import Tensor

from pertharness_uce.cells import Left, Preparation, prepare
from pertharness_uce.genes import Genes
from pertharness_uce.network import Network, padding_bias
from pertharness_uce.sentences import Places, Sentences, draw_sentences
from pertharness_uce.settings import Settings
from pertharness_uce.vocabulary import CELL, CLOSING, PADDING
from pertharness_uce.weights import Published

PROVEN = False
"""Whether means in bfloat16 were found as near to those in float32 as ``choose_precision`` asks for, at published size;
``benchmarks/uce.py`` compares them on a GPU."""
_ROWS_AT_ONCE = 1024
"""Rows of the table that are read and encoded together: 21 MB at published size."""
_CELLS_ON_CPU = 4
"""Cells of a forward pass on a CPU; more are no faster, and each takes 50 MB at published size."""
_TELL_EVERY = 10


@dataclass(frozen=True)
class TokenVectors:
    """What the tokens of the data bring to the first layer.

    Attributes
    ----------
    tokens
        Ascending, shape (n_tokens,).
    vectors
        Shape (n_tokens, width).
    """

    tokens: np.ndarray
    vectors: Tensor


def encode_tokens(published: Published, places: Places, device: torch.device) -> TokenVectors:
    """Return the vectors of all tokens that sentences of these genes can have; no other row is read."""
    chromosomes = places.first_chromosome + np.unique(places.chromosomes)
    tokens = np.unique(np.concatenate([[PADDING, CLOSING, CELL], places.tokens, chromosomes]))
    network = published.network.to(device)
    parts = []
    with torch.inference_mode():
        for start in range(0, len(tokens), _ROWS_AT_ONCE):
            rows = published.rows(torch.from_numpy(tokens[start : start + _ROWS_AT_ONCE]))
            parts.append(network.encode_tokens(rows.to(device)))
    return TokenVectors(tokens, torch.cat(parts))


@dataclass(frozen=True)
class Embedder:
    """Embeddings of cells by the frozen network.

    Attributes
    ----------
    network
        In evaluation mode, on `device`.
    masked
        Whether padding gets no attention.
    """

    network: Network
    known: TokenVectors
    device: torch.device
    precision: Precision
    masked: bool

    def embed(self, sentences: Sentences) -> np.ndarray:
        """Return the embedding of each cell, float32, shape (n_cells, output).

        All are padded as the sentences are, whatever number of them the memory holds at a time.
        """
        rows = torch.from_numpy(np.searchsorted(self.known.tokens, sentences.tokens)).to(self.device)
        bias = padding_bias(torch.from_numpy(sentences.mask()).to(self.device), masked=self.masked)

        def compute(start: int, stop: int) -> Tensor:
            with torch.inference_mode(), autocast(self.device, self.precision):
                vectors = self.known.vectors[rows[start:stop]]
                cells: Tensor = self.network(vectors, None if bias is None else bias[start:stop])
            return cells

        n_cells, length = sentences.tokens.shape
        most = _CELLS_ON_CPU if self.device.type == "cpu" else n_cells
        sizes = self.network.sizes
        size = first_size(self.device, 4.0 * length * (2 * sizes.hidden + 8 * sizes.width), most=most)
        embedded: np.ndarray = torch.cat(list(in_batches(n_cells, compute, size=size))).cpu().numpy()
        return embedded


def make_embedder(network: Network, known: TokenVectors, settings: Settings, device: torch.device) -> Embedder:
    """Return an embedder with the settings of a model."""
    precision = choose_precision(device, settings.sampling.precision, proven=PROVEN)
    return Embedder(network.to(device), known, device, precision, settings.choices().mask_mode == "masked")


@dataclass(frozen=True)
class Conditions:
    """Embeddings of conditions, and what became of their cells."""

    vectors: Mapping[str, np.ndarray]
    left: Left


def embed_conditions(
    embedder: Embedder, genes: Genes, settings: Settings, seed: int,
    cells_of: Mapping[str, Callable[[np.random.RandomState], Any]],
) -> Conditions:  # fmt: skip
    """Return the mean embedding over the cells of each condition, float64; those without a usable cell are absent.

    Parameters
    ----------
    cells_of
        Condition -> function that makes the counts of its cells, CSR float64, shape (n_cells, n_genes). Each condition
        has random numbers of its own, so that it does not matter which others are asked.
    """
    vectors, left = {}, Left()
    for number, (label, make) in enumerate(cells_of.items()):
        if number and not number % _TELL_EVERY:
            log_line(f"embedded {number} of {len(cells_of)} conditions")
        rng = np.random.RandomState([seed, *label.encode()])
        vector, more = embed_cells(embedder, genes, settings, make(rng), rng)
        left += more
        if vector is not None:
            vectors[label] = vector
    return Conditions(vectors, left)


def embed_cells(
    embedder: Embedder, genes: Genes, settings: Settings, counts: Any, rng: np.random.RandomState
) -> tuple[np.ndarray | None, Left]:
    """Return the mean embedding of the cells of a condition, None if none is usable, and what became of them."""
    sampling, choices = settings.sampling, settings.choices()
    how = Preparation(genes.columns, choices.filtering, choices.count_rounding, sampling.min_cells, sampling.min_genes)
    whole, left = prepare(counts, how)
    parts = []
    for start in range(0, whole.shape[0], sampling.batch_size):
        batch = whole[start : start + sampling.batch_size]
        sentences = draw_sentences(
            batch, genes.places, rng, sample_size=sampling.sample_size, positions=embedder.network.sizes.positions
        )
        parts.append(embedder.embed(sentences))
    return (np.concatenate(parts).mean(axis=0, dtype=np.float64) if parts else None), left
