"""The trained part: a graph model that makes a perturbation's effect of gene embeddings and two graphs of genes.

The graph model of GEARS (Roohani et al., Nature Biotechnology 2024, doi 10.1038/s41587-023-01905-6) in its version
0.0.2, as the authors of scFoundation changed it. Names of parameters are theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from pertharness_scfoundation.graphs import Graph

POSITION_SHARE = 0.2
"""Weight of the branch of the co-expression graph, beside the gene embeddings."""
LARGEST_NORM = 1.0
"""Longer rows of the tables are rescaled in place whenever they are looked up (torch's ``max_norm``), as published."""


class Mlp(nn.Module):
    """Linear layers, each with a batch norm, and ReLU between but not after them."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
        self.network = nn.Sequential(*layers[:-1])

    def forward(self, rows: Tensor) -> Tensor:
        """Return the output, shape (rows, last width)."""
        output: Tensor = self.network(rows)
        return output


class Smoothing(nn.Module):
    """A graph convolution with one step: the mean over neighbours, and a linear layer."""

    adjacency: Tensor

    def __init__(self, width: int, graph: Graph) -> None:
        super().__init__()
        self.lin = nn.Linear(width, width)
        self.register_buffer("adjacency", graph.normalised(), persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        """Return the smoothed rows, shape (nodes, width)."""
        output: Tensor = self.lin(torch.sparse.mm(self.adjacency, rows))
        return output


@dataclass(frozen=True)
class Perturbed:
    """Which genes are perturbed in the cells of a batch.

    Attributes
    ----------
    cells
        For each perturbed gene the row of its cell among the perturbed ones, shape (n,), int64.
    genes
        For each perturbed gene its number in the vocabulary of perturbations, shape (n,), int64.
    rows
        Rows of the perturbed cells in the batch, shape (n_perturbed,), int64.
    """

    cells: Tensor
    genes: Tensor
    rows: Tensor

    def to(self, device: torch.device | str) -> Perturbed:
        """Return the same on a device."""
        return Perturbed(self.cells.to(device), self.genes.to(device), self.rows.to(device))


def perturbed_in(targets: list[list[int]]) -> Perturbed:
    """Return which genes are perturbed, of the numbers of the genes of each cell; none: a control."""
    rows = [row for row, genes in enumerate(targets) if genes]
    cells = [number for number, row in enumerate(rows) for _ in targets[row]]
    genes = [gene for row in rows for gene in targets[row]]
    return Perturbed(*(torch.tensor(numbers, dtype=torch.int64) for numbers in (cells, genes, rows)))


class GraphHead(nn.Module):
    """The graph model; it adds the effect that it predicts to the expression of a control cell.

    Parameters
    ----------
    n_genes, n_perturbations, width
        Read-out genes; genes of the perturbation graph; width of gene embeddings and layers.
    coexpression, ontology
        The graphs among the first and among the second.
    smooth_all
        Smooth the positions of every cell over the co-expression graph; False: of the first one of a batch alone, as
        published, where the others pass through the linear layer only.
    """

    def __init__(
        self, n_genes: int, n_perturbations: int, width: int, *, coexpression: Graph, ontology: Graph, smooth_all: bool
    ) -> None:
        super().__init__()
        self.smooth_all = smooth_all
        # Unused, like two more below: they stand in published files of fitted models.
        self.pert_w = nn.Linear(1, width)
        self.gene_emb = nn.Embedding(n_genes, width, max_norm=LARGEST_NORM)
        self.pert_emb = nn.Embedding(n_perturbations, width, max_norm=LARGEST_NORM)
        self.emb_trans_v2 = Mlp(width, width, width)
        self.pert_fuse = Mlp(width, width, width)
        self.emb_pos = nn.Embedding(n_genes, width, max_norm=LARGEST_NORM)
        self.layers_emb_pos = nn.ModuleList([Smoothing(width, coexpression)])
        self.sim_layers = nn.ModuleList([Smoothing(width, ontology)])
        self.recovery_w = Mlp(width, 2 * width, width)
        self.indv_w1 = nn.Parameter(torch.empty(n_genes, width, 1))
        self.indv_b1 = nn.Parameter(torch.empty(n_genes, 1))
        self.cross_gene_state = Mlp(n_genes, width, width)
        self.indv_w2 = nn.Parameter(torch.empty(1, n_genes, width + 1))
        self.indv_b2 = nn.Parameter(torch.empty(1, n_genes))
        self.bn_emb = nn.BatchNorm1d(width)
        self.bn_pert_base = nn.BatchNorm1d(width)
        self.bn_pert_base_trans = nn.BatchNorm1d(width)
        self.cell_fitness_mlp = Mlp(n_genes, 2 * width, width, 1)
        for weights in (self.indv_w1, self.indv_b1, self.indv_w2, self.indv_b2):
            nn.init.xavier_normal_(weights)

    def forward(self, embeddings: Tensor, expression: Tensor, perturbed: Perturbed) -> Tensor:
        """Return the predicted expression, shape (cells, genes).

        Parameters
        ----------
        embeddings
            Gene embeddings of the control cells, shape (cells, genes, width).
        expression
            Their expression, log1p of counts per 10 000, shape (cells, genes).
        perturbed
            The genes that are perturbed in each.
        """
        return self.respond(self.base(embeddings), expression, perturbed, self.perturbations())

    def base(self, embeddings: Tensor) -> Tensor:
        """Return the state of each gene before any perturbation, shape (cells, genes, width)."""
        cells, genes, width = embeddings.shape
        base = torch.relu(self.bn_emb(embeddings.reshape(-1, width))).view(cells, genes, width)
        base = self.emb_trans_v2((base + POSITION_SHARE * self._positions(cells)).view(-1, width))
        return base.view(cells, genes, width)

    def perturbations(self) -> Tensor:
        """Return the smoothed table of the genes that can be perturbed, shape (n_perturbations, width)."""
        table = self.pert_emb(torch.arange(self.pert_emb.num_embeddings, device=self.indv_w1.device))
        smoothed: Tensor = self.sim_layers[0](table)
        return smoothed

    def respond(self, base: Tensor, expression: Tensor, perturbed: Perturbed, table: Tensor) -> Tensor:
        """Return the predicted expression from what `base` and `perturbations` return; see `forward`."""
        cells, genes, width = base.shape
        if len(perturbed.rows):
            effects = self._effects(perturbed, table)
            base = base.index_add(0, perturbed.rows, effects.unsqueeze(1).expand(-1, genes, -1))
        hidden = self.recovery_w(torch.relu(self.bn_pert_base(base.view(-1, width)))).view(cells, genes, width)
        of_gene = torch.einsum("cgh,gh->cg", hidden, self.indv_w1.squeeze(-1)) + self.indv_b1.squeeze(-1)
        state = self.cross_gene_state(of_gene)
        weights = self.indv_w2.squeeze(0)
        change = of_gene * weights[:, 0] + state @ weights[:, 1:].T + self.indv_b2
        output: Tensor = change + expression
        return output

    def _positions(self, cells: int) -> Tensor:
        """Return the branch of the co-expression graph, shape (cells, genes, width), or (1, genes, width) for all."""
        layer = self.layers_emb_pos[0]
        table = self.emb_pos(torch.arange(self.emb_pos.num_embeddings, device=self.indv_w1.device))
        smoothed = layer(table).unsqueeze(0)
        if self.smooth_all or cells == 1:
            return smoothed
        # The nodes of the graph are those of the first cell; without edges, a node keeps its own row.
        return torch.cat([smoothed, layer.lin(table).unsqueeze(0).expand(cells - 1, -1, -1)])

    def _effects(self, perturbed: Perturbed, table: Tensor) -> Tensor:
        """Return the effect of the perturbed genes of each perturbed cell, shape (n_perturbed, width)."""
        sums = table.new_zeros(len(perturbed.rows), table.shape[1])
        sums = sums.index_add(0, perturbed.cells, table[perturbed.genes])
        if len(sums) == 1:  # twice, so that a batch norm has something to normalise
            return self.pert_fuse(sums.expand(2, -1))[:1]
        return self.pert_fuse(sums)
