"""Rank-value encoding: a cell becomes the list of its genes, in the order of count over median."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pertharness_foundation.counts import TOTAL, recover_counts
from scipy import sparse

from pertharness_geneformer.dictionaries import CLASS, END, PADDING
from pertharness_geneformer.genes import UNKNOWN, Genes

CELLS_AT_A_TIME = 1_000
"""Cells whose counts are held in float64 at the same time."""


@dataclass(frozen=True)
class Vocabulary:
    """What a list of tokens is made with: the special tokens, and how long it is at most, with them."""

    padding: int
    cls: int
    eos: int
    longest: int

    @classmethod
    def of(cls, tokens: Mapping[str, int], longest: int) -> Vocabulary:
        """Return the special tokens of a dictionary."""
        return cls(tokens[PADDING], tokens[CLASS], tokens[END], longest)


def count_matrix(values: Any, genes: Genes) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Return counts of cells by Ensembl id, and their totals over all genes of the data.

    Parameters
    ----------
    values
        Log1p CP10k, dense or CSR, shape (n_cells, n_genes of the data).

    Returns
    -------
    tuple
        CSR float64, shape (n_cells, n_ids), and float64, whole numbers, shape (n_cells,).
    """
    counts = recover_counts(sparse.csr_matrix(values))
    return add_up(counts, genes), np.rint(np.asarray(counts.sum(axis=1)).ravel())


def add_up(counts: sparse.csr_matrix, genes: Genes) -> sparse.csr_matrix:
    """Return counts by Ensembl id: those of several genes of one id are summed, those of genes without one dropped."""
    known = np.flatnonzero(genes.of_column != UNKNOWN)
    places = (np.ones(len(known)), (known, genes.of_column[known]))
    added = sparse.csr_matrix(counts @ sparse.csr_matrix(places, shape=(len(genes.of_column), len(genes.ids))))
    added.sort_indices()  # in the order of the data, which decides between equal values
    return added


def rank(counts: sparse.csr_matrix, totals: np.ndarray, genes: Genes, vocabulary: Vocabulary) -> list[np.ndarray]:
    """Return the tokens of cells: the class token, genes by falling value, the end token.

    The value of a gene is its count, by the total of the cell, times 10 000, by its median; equal values are in the
    order of the data. Genes of value 0 have no place, and the smallest give way where a cell has too many.

    Parameters
    ----------
    counts
        CSR, by Ensembl id; indices sorted, shape (n_cells, n_ids).
    totals
        Shape (n_cells,), above 0.
    """
    sizes = np.diff(counts.indptr)
    values = counts.data / np.repeat(totals, sizes) * TOTAL / genes.medians[counts.indices]
    tokens = genes.tokens[counts.indices].astype(_smallest_type(genes.tokens))
    most = vocabulary.longest - 2
    cells = []
    for start, stop in zip(counts.indptr[:-1], counts.indptr[1:], strict=True):
        order = np.argsort(-values[start:stop], kind="stable")[:most]
        ranked = np.empty(len(order) + 2, dtype=tokens.dtype)
        ranked[0], ranked[-1] = vocabulary.cls, vocabulary.eos
        ranked[1:-1] = tokens[start:stop][order]
        cells.append(ranked)
    return cells


def tokenise(values: Any, genes: Genes, vocabulary: Vocabulary) -> list[np.ndarray]:
    """Return the tokens of cells, each an array of whole numbers, of log1p CP10k.

    Parameters
    ----------
    values
        Dense or CSR, shape (n_cells, n_genes of the data); a cell without counts has no gene.
    """
    cells: list[np.ndarray] = []
    for start in range(0, values.shape[0], CELLS_AT_A_TIME):
        counts, totals = count_matrix(values[start : start + CELLS_AT_A_TIME], genes)
        counts.eliminate_zeros()
        cells += rank(counts, np.maximum(totals, 1), genes, vocabulary)
    return cells


def _smallest_type(tokens: np.ndarray) -> np.dtype[Any]:
    """Return a type of whole numbers that holds all tokens in little memory."""
    return np.dtype(np.uint16 if tokens.max(initial=0) < 1 << 16 else np.int64)
