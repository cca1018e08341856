"""The network of scFoundation: values of a cell in, an embedding of each gene out.

The encoder sees the expressed genes alone, the decoder all of them. Source: Hao et al., Nature Methods 2024, doi
10.1038/s41592-024-02305-7; names of parameters are those of the published checkpoint without the prefix ``model.``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pertharness_foundation.performer import Performer
from torch import Tensor, nn
from torch.nn import functional

EXTRA = 2
"""Positions behind the genes: the total that is asked for (T), and the total of the cell (S)."""
LEAK = 0.1
"""Slope of the value embedding's LeakyReLU below 0."""
FEED_FORWARD = 4
"""Width of the feed-forward layers, in widths of the layer."""


@dataclass(frozen=True)
class Dimensions:
    """Sizes of the network, as the checkpoint's configuration has them.

    Attributes
    ----------
    n_genes
        Genes of the gene list; the sequence has two positions more.
    bins
        Rows of the value embedding's table.
    bin_alpha
        Share of the first layer that is added to the second one of the value embedding.
    pad_token, mask_token
        Values that stand for padding and for a masked value.
    """

    n_genes: int
    bins: int
    bin_alpha: float
    pad_token: float
    mask_token: float
    encoder_width: int
    encoder_depth: int
    encoder_heads: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    decoder_head_width: int

    @property
    def length(self) -> int:
        """Positions of a cell: genes, T and S."""
        return self.n_genes + EXTRA


class ValueEmbedding(nn.Module):
    """Embedding of an expression value: a mixture of the rows of a table, whose weights depend on the value."""

    def __init__(self, sizes: Dimensions) -> None:
        super().__init__()
        self.mlp = nn.Linear(1, sizes.bins)
        self.mlp2 = nn.Linear(sizes.bins, sizes.bins)
        self.emb = nn.Embedding(sizes.bins, sizes.encoder_width)
        self.emb_mask = nn.Embedding(1, sizes.encoder_width)
        self.emb_pad = nn.Embedding(1, sizes.encoder_width)
        self.bin_alpha, self.pad_token, self.mask_token = sizes.bin_alpha, sizes.pad_token, sizes.mask_token

    def forward(self, values: Tensor) -> Tensor:
        """Return the embeddings, shape (..., width), of values, shape (...)."""
        first = functional.leaky_relu(self.mlp(values.unsqueeze(-1)), LEAK)
        weights = torch.softmax(self.bin_alpha * first + self.mlp2(first), dim=-1)
        mixed = weights @ self.emb.weight
        for token, table in ((self.mask_token, self.emb_mask), (self.pad_token, self.emb_pad)):
            mixed = torch.where((values == token).unsqueeze(-1), table.weight.to(mixed.dtype), mixed)
        return mixed


class SelfAttention(nn.Module):
    """Attention among the expressed genes of each cell."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        if not self.in_proj_weight.is_meta:
            nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, hidden: Tensor, visible: Tensor) -> Tensor:
        """Return what each position gathers from those of `visible`, shape (cells, 1, 1, positions)."""
        projected = functional.linear(hidden, self.in_proj_weight, self.in_proj_bias)
        query, key, value = projected.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        gathered = functional.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        output: Tensor = self.out_proj(gathered.transpose(1, 2).flatten(2))
        return output


class EncoderLayer(nn.Module):
    """A transformer layer that normalises after each half; without dropout, as the encoder is never trained here."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn = SelfAttention(width, heads)
        self.linear1 = nn.Linear(width, FEED_FORWARD * width)
        self.linear2 = nn.Linear(FEED_FORWARD * width, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, hidden: Tensor, visible: Tensor) -> Tensor:
        """Return the next hidden states, shape (cells, positions, width)."""
        hidden = self.norm1(hidden + self.self_attn(hidden, visible))
        output: Tensor = self.norm2(hidden + self.linear2(functional.relu(self.linear1(hidden))))
        return output


class Encoder(nn.Module):
    """The layers that see the expressed genes of each cell."""

    def __init__(self, sizes: Dimensions) -> None:
        super().__init__()
        self.transformer_encoder = nn.ModuleList(
            EncoderLayer(sizes.encoder_width, sizes.encoder_heads) for _ in range(sizes.encoder_depth)
        )
        self.norm = nn.LayerNorm(sizes.encoder_width)

    def forward(self, hidden: Tensor, padding: Tensor) -> Tensor:
        """Return the encoded positions, with zeros at padding."""
        visible = ~padding[:, None, None, :]
        for layer in self.transformer_encoder:
            hidden = layer(hidden, visible)
        encoded: Tensor = self.norm(hidden).masked_fill(padding.unsqueeze(-1), 0.0)
        return encoded


KeyMaximum = Literal["batch", "cell"] | float
"""What the exponents of the decoder's keys are reduced by: see `Decoder`."""


class Decoder(nn.Module):
    """Performer layers over all positions, and their norm."""

    def __init__(self, sizes: Dimensions) -> None:
        super().__init__()
        self.performer = Performer(
            sizes.decoder_width, sizes.decoder_depth, sizes.decoder_heads, sizes.decoder_head_width, bias=True
        )
        self.norm = nn.LayerNorm(sizes.decoder_width)

    def forward(self, hidden: Tensor, key_maxima: Sequence[KeyMaximum]) -> Tensor:
        """Return the hidden states after the last layer and the norm, shape (cells, length, width).

        Parameters
        ----------
        hidden
            Shape (cells, length, width).
        key_maxima
            Of each layer: ``batch``, the maximum over all cells, so that a result depends on the cells beside it, as
            published; ``cell``, that within each cell; or a number.
        """
        for (attention, feed_forward), maximum in zip(self.performer.net.layers, key_maxima, strict=True):
            hidden = hidden + attention.fn(attention.norm(hidden), maximum)
            hidden = hidden + feed_forward.fn.fn(feed_forward.norm(hidden))
        output: Tensor = self.norm(hidden)
        return output

    def largest_keys(self, hidden: Tensor) -> list[float]:
        """Return what ``batch`` subtracts in each layer for these cells."""
        maxima = []
        for attention, feed_forward in self.performer.net.layers:
            rows, fn = attention.norm(hidden), attention.fn
            key = fn.to_k(rows).unflatten(-1, (fn.heads, -1))
            directions = fn.fast_attention.projection_matrix
            maxima.append(float((key @ directions.to(key.dtype).T).amax()) * directions.shape[-1] ** -0.25)
            hidden = hidden + fn(rows, maxima[-1])
            hidden = hidden + feed_forward.fn.fn(feed_forward.norm(hidden))
        return maxima


@dataclass(frozen=True)
class Tokens:
    """The expressed positions of some cells, padded to the same number.

    Attributes
    ----------
    values
        Shape (cells, positions), float32; padding has the padding token.
    positions
        Shape (cells, positions), int64; padding has the first number that is no position.
    padding
        Shape (cells, positions), true at padding.
    """

    values: Tensor
    positions: Tensor
    padding: Tensor

    def to(self, device: torch.device | str) -> Tokens:
        """Return the same on a device."""
        return Tokens(self.values.to(device), self.positions.to(device), self.padding.to(device))


class ScFoundation(nn.Module):
    """The pretrained network, with the keys of the published checkpoint."""

    def __init__(self, sizes: Dimensions) -> None:
        super().__init__()
        self.sizes = sizes
        self.token_emb = ValueEmbedding(sizes)
        self.pos_emb = nn.Embedding(sizes.length + 1, sizes.encoder_width)
        self.decoder_embed = nn.Linear(sizes.encoder_width, sizes.decoder_width)
        self.norm = nn.LayerNorm(sizes.decoder_width)
        self.to_final = nn.Linear(sizes.decoder_width, 1)
        self.encoder = Encoder(sizes)
        self.decoder = Decoder(sizes)

    def embed_tokens(self, tokens: Tokens) -> Tensor:
        """Return what the encoder gets: embeddings of value and position, padding included."""
        embedded: Tensor = self.token_emb(tokens.values) + self.pos_emb(tokens.positions)
        return embedded

    def encode(self, tokens: Tokens) -> Tensor:
        """Return the encoded positions, shape (cells, positions, width), with zeros at padding."""
        encoded: Tensor = self.encoder(self.embed_tokens(tokens), tokens.padding)
        return encoded

    def background(self) -> Tensor:
        """Return the decoder's input for a cell that expresses nothing, shape (length + 1, decoder width).

        The same for all cells, and so worked out once; the last row is for padding and is not read.
        """
        zero = self.token_emb(self.pos_emb.weight.new_zeros(1))
        background: Tensor = self.decoder_embed(self.pos_emb.weight + zero)
        return background

    def decoder_input(self, tokens: Tokens, encoded: Tensor, background: Tensor) -> Tensor:
        """Return the decoder's input, shape (cells, length, decoder width).

        Expressed positions hold the encoder's output and, a second time, the embedding of the position.
        """
        rows = self.decoder_embed(encoded + self.pos_emb(tokens.positions))
        filled = background.to(rows.dtype).expand(len(rows), -1, -1).clone()
        filled.scatter_(1, tokens.positions.unsqueeze(-1).expand_as(rows), rows)
        return filled[:, :-1]

    def decode(self, hidden: Tensor, key_maxima: Sequence[KeyMaximum] | None = None) -> Tensor:
        """Return the embedding of each position, shape (cells, length, decoder width).

        Parameters
        ----------
        hidden
            The decoder's input.
        key_maxima
            Of each layer; see `Decoder`. By default ``batch``, as published.
        """
        maxima = ["batch"] * self.sizes.decoder_depth if key_maxima is None else key_maxima
        decoded: Tensor = self.norm(self.decoder(hidden, maxima))
        return decoded

    def reconstruct(self, decoded: Tensor) -> Tensor:
        """Return the expression that the pretraining task predicts, shape (cells, length)."""
        reconstructed: Tensor = self.to_final(decoded).squeeze(-1)
        return reconstructed


def cell_embedding(tokens: Tokens, encoded: Tensor) -> Tensor:
    """Return the embedding of each cell: the encoder's output at S and at T, and its maximum and mean over genes.

    Not used to predict; what the authors call the pooling ``all``. Meant for one cell at a time.

    Returns
    -------
    Tensor
        Shape (cells, 4 x width).
    """
    rows = []
    for cell, padding in zip(encoded, tokens.padding, strict=True):
        states = cell[~padding]
        genes, total, own_total = states[:-2], states[-2], states[-1]
        rows.append(torch.cat([own_total, total, genes.amax(dim=0), genes.mean(dim=0)]))
    return torch.stack(rows)
