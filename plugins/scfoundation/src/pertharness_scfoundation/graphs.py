"""The two graphs of genes: shared terms of the Gene Ontology, and co-expression."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

SHARED_TERMS = 0.1
"""Edges of the ontology graph have to exceed it."""
CORRELATION = 0.4
"""Edges of the co-expression graph have to exceed it."""
NEIGHBOURS = 21
"""Strongest edges of each gene that are kept, its own counted."""
BLOCK = 1024
"""Genes whose edges are found at a time, so that no matrix of all pairs of genes is in memory."""
CELLS = 4096
"""Cells that are dense at a time."""


@dataclass(frozen=True)
class Graph:
    """A directed graph with weights; no edge comes twice.

    Attributes
    ----------
    source, target
        Nodes of each edge, int64.
    weight
        Weight of each edge, float64.
    n_nodes
        Number of nodes.
    """

    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    n_nodes: int

    def normalised(self) -> Tensor:
        """Return D^-1/2 (A + I) D^-1/2 as a sparse tensor, targets x sources, float32.

        A node without a loop gets one of weight 1, others keep theirs. D has the weights that come in.
        """
        import torch

        loops = np.setdiff1d(np.arange(self.n_nodes), self.source[self.source == self.target])
        source, target = np.concatenate([self.source, loops]), np.concatenate([self.target, loops])
        weight = np.concatenate([self.weight, np.ones(len(loops))])
        degree = np.bincount(target, weights=weight, minlength=self.n_nodes)
        scale = np.where(degree > 0, 1 / np.sqrt(np.where(degree > 0, degree, 1)), 0.0)
        values = torch.from_numpy(scale[source] * weight * scale[target]).float()
        size = (self.n_nodes, self.n_nodes)
        places = torch.from_numpy(np.stack([target, source]))
        return torch.sparse_coo_tensor(places, values, size, check_invariants=True).coalesce()


def ontology_graph(terms: Sequence[Collection[str]]) -> Graph:
    """Return the graph of genes that share more than a tenth of their terms, the 21 strongest edges of each target.

    The weight of genes a and b is ``|GO(a) & GO(b)| / |GO(a) | GO(b)|``; a gene is its own neighbour, with weight 1.
    Of equal weights, those of earlier sources are kept. A gene without terms has no edge.

    Parameters
    ----------
    terms
        Terms of each gene.
    """
    from scipy import sparse

    number = {term: i for i, term in enumerate(sorted({term for of_gene in terms for term in of_gene}))}
    sizes = np.array([len(of_gene) for of_gene in terms], dtype=np.int64)
    columns = np.fromiter((number[term] for of_gene in terms for term in of_gene), np.int64, count=int(sizes.sum()))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    shape = (len(terms), len(number))
    members = sparse.csr_matrix((np.ones(len(columns), dtype=np.int32), columns, starts), shape=shape)
    turned = members.T.tocsr()
    targets, sources, weights = [], [], []
    for start in range(0, len(terms), BLOCK):
        shared = (members[start : start + BLOCK] @ turned).tocoo()
        rows = shared.row.astype(np.int64) + start
        weight = shared.data / (sizes[rows] + sizes[shared.col] - shared.data)
        kept = _strongest(rows, shared.col.astype(np.int64), weight, weight > SHARED_TERMS)
        targets.append(rows[kept])
        sources.append(shared.col[kept].astype(np.int64))
        weights.append(weight[kept])
    return Graph(_joined(sources, np.int64), _joined(targets, np.int64), _joined(weights, np.float64), len(terms))


def _strongest(target: np.ndarray, source: np.ndarray, weight: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """Return the numbers of the strongest candidates of each target; of equals, those of the first sources."""
    rows = np.flatnonzero(candidate)
    order = rows[np.lexsort((source[rows], -weight[rows], target[rows]))]
    first = np.concatenate([[True], np.diff(target[order]) != 0]) if len(order) else np.zeros(0, dtype=bool)
    begin = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    strongest: np.ndarray = order[np.arange(len(order)) - begin < NEIGHBOURS]
    return strongest


def coexpression_graph(expression: Any, device: str = "cpu") -> Graph:
    """Return the graph of genes that vary together: for each the 21 strongest, where the correlation exceeds 0.4.

    The weight is the absolute Pearson correlation over cells. A gene that does not vary has none with any gene, itself
    included.

    Parameters
    ----------
    expression
        Cells x genes, CSR.
    device
        Where products are computed.
    """
    import torch

    n_genes = expression.shape[1]
    sources, targets, weights = [], [], []
    for start, correlation in _correlations(expression, device):
        above = torch.nonzero(correlation > CORRELATION)  # few: no gene's row has to be sorted
        weight = correlation[above[:, 0], above[:, 1]].cpu().numpy()
        target, source = above.cpu().numpy().T
        kept = _strongest(target, source, weight, np.ones(len(weight), dtype=bool))
        targets.append(target[kept] + start)
        sources.append(source[kept])
        weights.append(weight[kept])
    return Graph(_joined(sources, np.int64), _joined(targets, np.int64), _joined(weights, np.float64), n_genes)


def _correlations(expression: Any, device: str) -> Iterator[tuple[int, Tensor]]:
    """Yield the first gene of a block, and the absolute correlations of the block's genes with all.

    Products are float32 within some thousand cells, as the data are, and summed up in float64.
    """
    import torch

    n_cells, n_genes = expression.shape
    mean, square = np.zeros((2, n_genes))
    for first in range(0, n_cells, CELLS):
        part = expression[first : first + CELLS].astype(np.float64)
        mean += np.asarray(part.sum(axis=0)).ravel() / n_cells
        part.data **= 2
        square += np.asarray(part.sum(axis=0)).ravel() / n_cells
    variance = square - mean**2
    varies = variance > 1e-12 * np.maximum(square, 1e-300)  # rounding leaves constant genes a little
    scale = np.where(varies, 1 / np.sqrt(np.where(varies, variance, 1.0)), 0.0)
    shift, factor = (torch.from_numpy(values).to(device, torch.float32) for values in (mean, scale))
    for start in range(0, n_genes, BLOCK):
        stop = min(start + BLOCK, n_genes)
        product = torch.zeros(stop - start, n_genes, dtype=torch.float64, device=device)
        for first in range(0, n_cells, CELLS):
            rows = torch.from_numpy(expression[first : first + CELLS].toarray()).to(device, torch.float32)
            standard = (rows - shift) * factor
            product += standard[:, start:stop].T @ standard
        yield start, (product / max(1, n_cells)).abs()


def _joined(parts: list[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype=kind), *parts]).astype(kind)
