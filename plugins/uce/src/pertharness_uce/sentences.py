"""Sentences of cells: genes drawn by their expression, ordered by chromosome and start, as tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pertharness_foundation.contents import CheckpointError

from pertharness_uce.vocabulary import CELL, CLOSING, PADDING


@dataclass(frozen=True)
class Places:
    """Tokens and places of genes.

    Attributes
    ----------
    tokens, chromosomes, starts
        Of each gene: row of the table, code of the chromosome, genomic start; int64, shape (n_genes,).
    first_chromosome
        Token of the chromosome with code 0.
    """

    tokens: np.ndarray
    chromosomes: np.ndarray
    starts: np.ndarray
    first_chromosome: int


@dataclass(frozen=True)
class Sentences:
    """Sentences of cells that are padded to one length.

    Attributes
    ----------
    tokens
        int64, shape (n_cells, longest).
    lengths
        Of each without padding, int64, shape (n_cells,).
    """

    tokens: np.ndarray
    lengths: np.ndarray

    def mask(self) -> np.ndarray:
        """Return 1 at tokens and 0 at padding, float32, shape (n_cells, longest)."""
        return (np.arange(self.tokens.shape[1]) < self.lengths[:, None]).astype(np.float32)


def draw_sentences(
    counts: Any, places: Places, rng: np.random.RandomState, *, sample_size: int, positions: int
) -> Sentences:
    """Draw the sentence of each cell, one after another, as the published code does.

    A sentence is the token of a cell, and for each chromosome that a drawn gene lies on, in random order, its token,
    the drawn genes by their start, and a token that closes it.

    Parameters
    ----------
    counts
        CSR, whole numbers, no zeros stored, sorted columns, at least one count in each cell, shape (n_cells, n_genes).
    rng
        Gives of each cell `sample_size` numbers, and the order of its chromosomes.
    positions
        Longest sentence that the network takes.

    Raises
    ------
    CheckpointError
        If a sentence is longer.
    """
    n_cells = counts.shape[0]
    drawn = np.empty((n_cells, sample_size), dtype=np.int64)
    ranks = np.empty((n_cells, sample_size), dtype=np.int64)
    orders = []
    weights = _weights(counts)
    rank_of = np.zeros(int(places.chromosomes.max(initial=0)) + 1, dtype=np.int64)
    for cell in range(n_cells):
        row = slice(counts.indptr[cell], counts.indptr[cell + 1])
        drawn[cell] = counts.indices[row][_draw(weights[row], sample_size, rng)]
        chromosomes = places.chromosomes[drawn[cell]]
        order = np.flatnonzero(np.bincount(chromosomes))
        rng.shuffle(order)
        rank_of[order] = np.arange(len(order))
        ranks[cell] = rank_of[chromosomes]
        orders.append(order)
    return _assemble(drawn, ranks, orders, places, positions)


def _weights(counts: Any) -> np.ndarray:
    """Return the share of each stored count in the logarithms of its cell, float32, divided twice as published."""
    logs: np.ndarray = np.log1p(counts.data.astype(np.float64)).astype(np.float32)
    sizes = np.diff(counts.indptr)
    for _ in range(2):
        sums = np.add.reduceat(logs, counts.indptr[:-1], dtype=np.float64) if len(sizes) else np.zeros(0)
        logs = logs / np.repeat(sums.astype(np.float32), sizes)
    return logs


def _draw(weights: np.ndarray, size: int, rng: np.random.RandomState) -> np.ndarray:
    """Return the positions that ``rng.choice`` draws with replacement, from the same numbers of the generator."""
    cumulative = weights.cumsum(dtype=np.float64)
    cumulative /= cumulative[-1]
    positions: np.ndarray = cumulative.searchsorted(rng.random_sample(size), side="right")
    return positions


def _assemble(
    drawn: np.ndarray, ranks: np.ndarray, orders: list[np.ndarray], places: Places, positions: int
) -> Sentences:
    """Return the sentences of drawn genes.

    Parameters
    ----------
    drawn, ranks
        Genes, and the place of each one's chromosome in the order of its cell, shape (n_cells, sample_size).
    orders
        Codes of the chromosomes of each cell, in its order.
    """
    n_cells, size = drawn.shape
    numbers = np.array([len(order) for order in orders], dtype=np.int64)
    lengths = 1 + size + 2 * numbers
    longest = int(lengths.max(initial=1))
    if longest > positions:
        raise CheckpointError(
            f"uce: a cell has genes on {int(numbers.max())} chromosomes, so that its sentence has {longest} tokens; "
            f"the checkpoint takes {positions}: take a smaller sample_size, or the species_chrom.csv of this checkpoint"
        )
    starts = np.unique(places.starts, return_inverse=True)[1].reshape(-1)
    by_place = ranks * len(starts) + starts[drawn]
    order = np.argsort(by_place, axis=1, kind="stable")
    genes, of_chromosome = (np.take_along_axis(array, order, axis=1) for array in (drawn, ranks))
    tokens = np.full((n_cells, longest), PADDING, dtype=np.int64)
    tokens[:, 0] = CELL
    np.put_along_axis(tokens, 2 + np.arange(size) + 2 * of_chromosome, places.tokens[genes], axis=1)
    # The first and the last gene of each chromosome of each cell, in the order of `orders`.
    cells, first = np.nonzero(np.diff(of_chromosome, axis=1, prepend=-1))
    _, last = np.nonzero(np.diff(of_chromosome, axis=1, append=-1))
    before = 1 + 2 * of_chromosome[cells, first]
    tokens[cells, before + first] = places.first_chromosome + np.concatenate([*orders, np.zeros(0, dtype=np.int64)])
    tokens[cells, before + last + 2] = CLOSING
    return Sentences(tokens, lengths)
