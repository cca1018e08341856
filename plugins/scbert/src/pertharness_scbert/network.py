"""scBERT (doi 10.1038/s42256-022-00534-z): a Performer over all genes of a cell, with the keys of its checkpoint.

A cell is one token for each gene of the list, its expression in whole steps, and a last token 0. The network returns
an encoding for each; pretraining reads tokens back from them, fine-tuning a class of the cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from pertharness_foundation.performer import Performer
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

EXTRA = 1
"""Positions after those of the genes: the last token, of which nothing is known but its id 0."""
HIDDEN = (512, 128)
"""Widths of the published classifier."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of the network.

    Attributes
    ----------
    n_genes
        Genes of the list.
    n_tokens
        Ids: steps of expression, and a last one for what pretraining masks.
    dim, depth, heads, dim_head, n_features
        As `pertharness_foundation.performer.Performer` has them.
    """

    n_genes: int
    n_tokens: int
    dim: int
    depth: int
    heads: int
    dim_head: int
    n_features: int

    @property
    def length(self) -> int:
        """Positions of a sequence."""
        return self.n_genes + EXTRA


PUBLISHED = Sizes(n_genes=16_906, n_tokens=7, dim=200, depth=6, heads=10, dim_head=64, n_features=266)
"""Sizes of the published network."""


class Positions(nn.Module):
    """The table of vectors of genes (gene2vec), under the name ``emb``, which the published keys have."""

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(length, dim, dtype=torch.float64)


class Classifier(nn.Module):
    """From the encodings of all positions to a score of each class: one number a position, then three layers."""

    def __init__(self, length: int, dim: int, n_classes: int) -> None:
        super().__init__()
        first, second = HIDDEN
        self.conv1 = nn.Conv2d(1, 1, (1, dim))
        self.fc1 = nn.Linear(length, first)
        self.fc2 = nn.Linear(first, second)
        self.fc3 = nn.Linear(second, n_classes)

    def forward(self, encodings: Tensor) -> Tensor:
        """Return the scores, shape (n_cells, n_classes)."""
        weight = self.conv1.weight.flatten()  # the kernel is as wide as an encoding: a product, and no convolution
        x = torch.relu(encodings @ weight + self.conv1.bias)
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))


class ScBert(nn.Module):
    """The network, with the layer that reads tokens back, or with a classifier in its place.

    Parameters
    ----------
    n_classes
        None: ``to_out`` is the layer of pretraining.
    """

    def __init__(self, sizes: Sizes, n_classes: int | None = None) -> None:
        super().__init__()
        self.sizes = sizes
        self.token_emb = nn.Embedding(sizes.n_tokens, sizes.dim)
        self.pos_emb = Positions(sizes.length, sizes.dim)
        self.performer = Performer(sizes.dim, sizes.depth, sizes.heads, sizes.dim_head, n_features=sizes.n_features)
        self.norm = nn.LayerNorm(sizes.dim)
        self.to_out: nn.Module = (
            nn.Linear(sizes.dim, sizes.n_tokens) if n_classes is None
            else Classifier(sizes.length, sizes.dim, n_classes)
        )  # fmt: skip

    def encode(self, tokens: Tensor, *, positions: bool = True) -> Tensor:
        """Return the encodings, float32, shape (n_cells, length, dim).

        Parameters
        ----------
        tokens
            Ids, shape (n_cells, length).
        positions
            Whether the vector of its gene is added to each token.
        """
        x = self.token_emb(tokens)
        if positions:
            # As published: the sum is formed in float64, which the table has, and then rounded.
            x = (x + self.pos_emb.emb.weight).to(x.dtype)
        return self.norm(self.performer(x))

    def mean_encoding(self, tokens: Tensor, *, positions: bool) -> Tensor:
        """Return the mean of the encodings over all positions, shape (n_cells, dim).

        Without positions all genes with the same token have the same encoding in every layer: the network is then
        computed for each token once, which counts as often as it occurs. With n_tokens in the place of `length`
        positions this is exact up to rounding, and thousands of times faster.
        """
        if positions:
            return self.encode(tokens).mean(dim=1)
        counts = torch.zeros(len(tokens), self.sizes.n_tokens, dtype=torch.int64, device=tokens.device)
        counts.scatter_add_(1, tokens, torch.ones_like(tokens))
        rows = self.token_emb.weight.expand(len(tokens), -1, -1)
        encodings = self.norm(self.performer(rows, counts))
        return (encodings * counts.unsqueeze(-1)).sum(dim=1) / tokens.shape[1]

    def forward(self, tokens: Tensor) -> Tensor:
        """Return what ``to_out`` makes of the encodings."""
        return self.to_out(self.encode(tokens))
