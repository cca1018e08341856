"""Batches of pairs: which genes a step sees, and their values as tensors on the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pertharness_scgpt.data import NO_TARGET, Pairs
from pertharness_scgpt.settings import GeneSubset


@dataclass(frozen=True)
class Batch:
    """Tensors of a step; the genes are the same for all cells.

    ``tokens`` int64, shape (n_genes,); ``values`` and ``expected`` float32, ``flags`` int64, shape (n_cells, n_genes).
    """

    tokens: Tensor
    values: Tensor
    flags: Tensor
    expected: Tensor


def draw_genes(
    n_genes: int, most: int, generator: torch.Generator, with_genes: Sequence[int] | np.ndarray = ()
) -> np.ndarray:
    """Return the genes of a step, int64: all in order where there are at most `most`, else a random sample.

    The sample is the beginning of a random permutation, not sorted.

    Parameters
    ----------
    with_genes
        Genes that come first in it, whatever is drawn; of more than `most`, the first.
    """
    if n_genes <= most:
        return np.arange(n_genes)
    drawn: np.ndarray = torch.randperm(n_genes, generator=generator).numpy()
    if not len(with_genes):
        return drawn[:most]
    wanted = np.asarray(with_genes, dtype=np.int64)[:most]
    others = drawn[~np.isin(drawn, wanted)]
    return np.concatenate([wanted, others[: most - len(wanted)]])


def gather(matrix: Any, rows: np.ndarray, genes: np.ndarray) -> np.ndarray:
    """Return some rows and columns of a CSR matrix as an array, float32, shape (len(rows), len(genes))."""
    chosen = matrix[rows]
    position = np.full(matrix.shape[1], -1, dtype=np.int64)
    position[genes] = np.arange(len(genes))
    columns = position[chosen.indices]
    kept = columns >= 0
    result = np.zeros((len(rows), len(genes)), dtype=np.float32)
    row = np.repeat(np.arange(len(rows)), np.diff(chosen.indptr))
    result[row[kept], columns[kept]] = chosen.data[kept]
    return result


def make_flags(targets: np.ndarray, n_all: int, genes: np.ndarray) -> np.ndarray:
    """Return 1 at the perturbed genes of each cell and 0 elsewhere, int64, shape (n_cells, len(genes)).

    Parameters
    ----------
    targets
        Positions of perturbed genes, shape (n_cells, most), `NO_TARGET` where there are fewer.
    n_all
        Number of genes that positions count.
    genes
        Those of the step.
    """
    position = np.full(n_all, -1, dtype=np.int64)
    position[genes] = np.arange(len(genes))
    columns = np.where(targets == NO_TARGET, -1, position[targets])
    cells, which = np.nonzero(columns >= 0)
    flags = np.zeros((len(targets), len(genes)), dtype=np.int64)
    flags[cells, columns[cells, which]] = 1
    return flags


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """Return an array as a tensor on the device; on a GPU the copy does not wait for what is computed there."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor


@dataclass(frozen=True)
class Batches:
    """How batches are made of pairs.

    Attributes
    ----------
    tokens
        Of all genes of the network, int64, shape (n_genes,).
    size, most_genes
        Pairs and genes of a batch, at most.
    gene_subset
        Whether the perturbed genes of a batch are always among its genes.
    """

    tokens: np.ndarray
    size: int
    most_genes: int
    gene_subset: GeneSubset
    device: torch.device

    def shuffled(self, pairs: Pairs, generator: torch.Generator, *, drop_last: bool) -> Iterator[Batch]:
        """Yield the batches of all pairs in random order, each with genes of its own."""
        order = torch.randperm(len(pairs), generator=generator).numpy()
        end = len(order) - len(order) % self.size if drop_last else len(order)
        for start in range(0, end, self.size):
            yield self.make(pairs, order[start : min(start + self.size, end)], generator)

    def make(self, pairs: Pairs, chosen: np.ndarray, generator: torch.Generator) -> Batch:
        """Return the batch of some pairs."""
        n_genes = len(self.tokens)
        targets = pairs.targets[chosen]
        perturbed = np.unique(targets[targets != NO_TARGET]) if self.gene_subset == "with_targets" else ()
        genes = draw_genes(n_genes, self.most_genes, generator, perturbed)
        return Batch(
            to_device(self.tokens[genes], self.device),
            to_device(gather(pairs.source, pairs.inputs[chosen], genes), self.device),
            to_device(make_flags(targets, n_genes, genes), self.device),
            to_device(gather(pairs.observed, pairs.outputs[chosen], genes), self.device),
        )
