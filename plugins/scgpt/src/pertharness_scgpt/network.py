"""The network: a transformer over genes that predicts the expression of each gene after a perturbation.

scGPT 0.2.1 with the input for perturbation flags (Cui et al., Nature Methods 2024, doi 10.1038/s41592-024-02201-0). The
names of the modules are those of the published checkpoint's keys, in their order. Nothing in it depends on the order of
the genes: there is no position, no class token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pertharness import DataError
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

FLAGS = 3
"""Rows of the table of flags: 0 not perturbed, 1 perturbed, 2 padding, which is never used."""
FLAG_PADDING = 2
LARGEST_VALUE = 512.0
"""Values above it are cut; there is no lower bound."""
BATCH_NORM_EPS = 6.1e-5
SLOPE = 0.01
"""Of the leaky rectifier in the decoder."""
MOST_WEIGHTS = 2**26
"""Attention weights that a training on a CPU has in memory at a time: 256 MB, and a few copies."""
DROPOUT = 0.2
"""Of the published fine-tuning; what ``args.json`` says is of the pretraining."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a network.

    Attributes
    ----------
    width, heads, hidden, layers
        Of the transformer; the width is a multiple of the heads.
    class_layers
        Layers of the classifier, which the checkpoint format has and nothing here uses.
    tokens, padding
        Rows of the table of tokens, and the row of ``<pad>``.
    """

    width: int
    heads: int
    hidden: int
    layers: int
    class_layers: int
    tokens: int
    padding: int


_FIELDS = {
    "width": "embsize", "heads": "nheads", "hidden": "d_hid", "layers": "nlayers", "class_layers": "n_layers_cls",
}  # fmt: skip
"""Size -> its name in ``args.json``."""


def read_sizes(args: Mapping[str, Any], *, tokens: int, padding: int) -> Sizes:
    """Return the sizes that a published ``args.json`` gives.

    Raises
    ------
    DataError
        If one is absent or no positive whole number, or the width is no multiple of the heads.
    """
    sizes = {}
    for size, name in _FIELDS.items():
        value = args.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise DataError(
                f"scgpt: args.json has {name} {value!r}; expected a positive whole number. Take the args.json of the "
                "folder that the checkpoint is from"
            )
        sizes[size] = value
    if sizes["width"] % sizes["heads"]:
        raise DataError(f"scgpt: args.json: embsize {sizes['width']} is no multiple of nheads {sizes['heads']}")
    return Sizes(**sizes, tokens=tokens, padding=padding)


class TokenEncoder(nn.Module):
    """Embedding of genes: a normalised row of a table."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.embedding = nn.Embedding(sizes.tokens, sizes.width, padding_idx=sizes.padding)
        self.enc_norm = nn.LayerNorm(sizes.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the vector of each token."""
        normalised: Tensor = self.enc_norm(self.embedding(tokens))
        return normalised


class ValueEncoder(nn.Module):
    """Embedding of expression values, as they are: not binned, though the pretraining had bins."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.linear1 = nn.Linear(1, width)
        self.linear2 = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = dropout

    def forward(self, values: Tensor) -> Tensor:
        """Return the vector of each value."""
        hidden = F.relu(self.linear1(values.clamp(max=LARGEST_VALUE).unsqueeze(-1)))
        return F.dropout(self.norm(self.linear2(hidden)), self.dropout, self.training)


class Attention(nn.Module):
    """Self-attention of several heads, by the fused kernel where there is no mask."""

    def __init__(self, sizes: Sizes, dropout: float) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * sizes.width, sizes.width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * sizes.width))
        self.out_proj = nn.Linear(sizes.width, sizes.width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights; a checkpoint replaces them."""
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.in_proj_bias)

    def forward(self, x: Tensor, attended: Tensor | None) -> Tensor:
        """Return what each gene takes from those that are attended to."""
        n_cells, n_genes, width = x.shape
        projected = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        query, key, value = projected.view(n_cells, n_genes, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        dropout = self.dropout if self.training else 0.0
        step = _cells_at_once(query) if dropout and x.device.type == "cpu" else n_cells
        if step < n_cells and attended is None:
            parts = zip(query.split(step), key.split(step), value.split(step), strict=True)
            mixed = torch.cat([checkpoint(_attend, *part, dropout, use_reentrant=False) for part in parts])
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=attended, dropout_p=dropout)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(n_cells, n_genes, width))
        return out


def _cells_at_once(query: Tensor) -> int:
    """Return of how many cells the attention weights may be in memory together.

    A CPU has no fused kernel with dropout: the weights of every cell would be kept for the backward pass, 75 MB a cell
    and layer at the published size. Those of few cells at a time are computed, and computed again.
    """
    n_heads, n_genes = int(query.shape[1]), int(query.shape[2])
    return max(1, MOST_WEIGHTS // (n_heads * n_genes * n_genes))


def _attend(query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
    mixed: Tensor = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    return mixed


class Layer(nn.Module):
    """A layer of the transformer, normalised after each sum."""

    def __init__(self, sizes: Sizes, dropout: float) -> None:
        super().__init__()
        self.self_attn = Attention(sizes, dropout)
        self.linear1 = nn.Linear(sizes.width, sizes.hidden)
        self.linear2 = nn.Linear(sizes.hidden, sizes.width)
        self.norm1 = nn.LayerNorm(sizes.width)
        self.norm2 = nn.LayerNorm(sizes.width)
        self.dropout = dropout

    def forward(self, x: Tensor, attended: Tensor | None = None) -> Tensor:
        """Return the rows after the layer."""
        x = self.norm1(x + self._drop(self.self_attn(x, attended)))
        inner = self._drop(F.relu(self.linear1(x)))
        out: Tensor = self.norm2(x + self._drop(self.linear2(inner)))
        return out

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class Transformer(nn.Module):
    """The layers, in order."""

    def __init__(self, sizes: Sizes, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(sizes, dropout) for _ in range(sizes.layers))

    def forward(self, x: Tensor, attended: Tensor | None = None) -> Tensor:
        """Return the rows after all layers."""
        for layer in self.layers:
            x = layer(x, attended)
        return x


class Decoder(nn.Module):
    """Expression of a gene from its row, of any sign."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(width, width), nn.LeakyReLU(SLOPE), nn.Linear(width, width), nn.LeakyReLU(SLOPE),
            nn.Linear(width, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return the value of each gene."""
        values: Tensor = self.fc(x).squeeze(-1)
        return values


class Classifier(nn.Module):
    """The classifier of the checkpoint format, on the first gene; here without use or gradient."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        blocks = [
            (nn.Linear(sizes.width, sizes.width), nn.ReLU(), nn.LayerNorm(sizes.width))
            for _ in range(sizes.class_layers - 1)
        ]
        self._decoder = nn.ModuleList(module for block in blocks for module in block)
        self.out_layer = nn.Linear(sizes.width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return a number for each row."""
        for module in self._decoder:
            x = module(x)
        out: Tensor = self.out_layer(x)
        return out


class Network(nn.Module):
    """The network of the published fine-tuning.

    Parameters
    ----------
    sizes
        Of the checkpoint.
    dropout
        Share of values dropped in training.
    """

    def __init__(self, sizes: Sizes, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.sizes = sizes
        self.encoder = TokenEncoder(sizes)
        self.value_encoder = ValueEncoder(sizes.width, dropout)
        self.pert_encoder = nn.Embedding(FLAGS, sizes.width, padding_idx=FLAG_PADDING)
        self.bn = nn.BatchNorm1d(sizes.width, eps=BATCH_NORM_EPS)
        self.transformer_encoder = Transformer(sizes, dropout)
        self.decoder = Decoder(sizes.width)
        self.cls_decoder = Classifier(sizes)

    def bytes_of_cell(self, n_genes: int) -> int:
        """Return about how much memory a cell takes in a forward pass without gradients, in float32.

        The rows, their sum with a layer's result, query, key, value and what is mixed of them, and the hidden layer.
        """
        return 4 * n_genes * (6 * self.sizes.width + self.sizes.hidden)

    def embed(self, tokens: Tensor, values: Tensor, flags: Tensor) -> Tensor:
        """Return the rows that enter the transformer, shape (n_cells, n_genes, width)."""
        summed = self.encoder(tokens) + self.value_encoder(values) + self.pert_encoder(flags)
        rows: Tensor = self.bn(summed.flatten(0, 1)).view_as(summed)
        return rows

    def forward(self, tokens: Tensor, values: Tensor, flags: Tensor, padded: Tensor | None = None) -> Tensor:
        """Return the expression of each gene after the perturbation, shape (n_cells, n_genes).

        Parameters
        ----------
        tokens
            int64, shape (n_genes,), the same genes for all cells, or (n_cells, n_genes).
        values
            log1p CP10k of unperturbed cells, shape (n_cells, n_genes).
        flags
            int64, shape (n_cells, n_genes) or (n_genes,): 1 where a gene is perturbed, 0 elsewhere.
        padded
            bool, shape (n_cells, n_genes): True for genes that no other attends to, whose own output has no meaning.
            None: there are none, and attention takes its fused kernel.
        """
        attended = None if padded is None else ~padded[:, None, None, :]
        rows = self.transformer_encoder(self.embed(tokens, values, flags), attended)
        predicted: Tensor = self.decoder(rows)
        return predicted
