"""The network of UCE: a transformer over the tokens of a cell, of which the first one becomes the cell's embedding.

Every key and shape is that of the published checkpoint. The table of tokens, most of the file, is no part of it: what
the network makes of a token before the first layer is computed once for each (`Network.encode_tokens`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from pertharness_foundation.contents import CheckpointError
from torch import Tensor, nn
from torch.nn import functional as F

HEADS = 20
"""Attention heads of the published checkpoints, of 4 and of 33 layers; their files do not say it."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of the network.

    Attributes
    ----------
    token_width
        Numbers of a token in the table.
    inner
        Width of the first layer of the decoder.
    positions
        Longest sentence.
    """

    token_width: int
    width: int
    heads: int
    hidden: int
    layers: int
    inner: int
    output: int
    positions: int


def read_sizes(state: Mapping[str, Tensor], source: str, *, heads: int = HEADS) -> Sizes:
    """Return the sizes of a checkpoint by the shapes of its tensors.

    Raises
    ------
    CheckpointError
        If a tensor that tells a size is absent or of another kind, or the width is no multiple of the heads.
    """

    def shape(key: str, dimensions: int = 2) -> list[int]:
        if key not in state or state[key].ndim != dimensions:
            raise CheckpointError(f"{source} lacks {key!r}, or has it in another shape; it is no checkpoint of UCE")
        return list(state[key].shape)

    width, token_width = shape("encoder.0.weight")
    parts = {key.split(".")[2] for key in state if key.startswith("transformer_encoder.layers.")}
    sizes = Sizes(
        token_width=token_width, width=width, heads=heads, layers=len(parts), inner=shape("decoder.0.0.weight")[0],
        hidden=shape("transformer_encoder.layers.0.linear1.weight")[0], output=shape("decoder.3.weight")[0],
        positions=shape("pos_encoder.pe", 3)[0],
    )  # fmt: skip
    if not width or width % heads:
        raise CheckpointError(f"{source} has a width of {width}, which is no multiple of {heads} heads")
    return sizes


class Attention(nn.Module):
    """Self-attention of several heads."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * sizes.width, sizes.width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * sizes.width))
        self.out_proj = nn.Linear(sizes.width, sizes.width)

    def forward(self, asking: Tensor, x: Tensor, bias: Tensor | None) -> Tensor:
        """Return what each of the asking positions takes from all positions."""
        width = x.shape[-1]
        weights = self.in_proj_weight.split([width, 2 * width])
        biases = self.in_proj_bias.split([width, 2 * width])
        (query,) = self._by_head(F.linear(asking, weights[0], biases[0]), 1)
        key, value = self._by_head(F.linear(x, weights[1], biases[1]), 2)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(asking.shape))
        return out

    def _by_head(self, projected: Tensor, parts: int) -> tuple[Tensor, ...]:
        n_cells, length, _ = projected.shape
        split: Tensor = projected.view(n_cells, length, parts, self.heads, -1).permute(2, 0, 3, 1, 4)
        return tuple(split.unbind(0))


class Layer(nn.Module):
    """A layer of the transformer, normalised after each sum."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.self_attn = Attention(sizes)
        self.linear1 = nn.Linear(sizes.width, sizes.hidden)
        self.linear2 = nn.Linear(sizes.hidden, sizes.width)
        self.norm1 = nn.LayerNorm(sizes.width)
        self.norm2 = nn.LayerNorm(sizes.width)

    def forward(self, x: Tensor, bias: Tensor | None, *, first_alone: bool = False) -> Tensor:
        """Return the rows after the layer: of all positions, or of the first alone, which asks all."""
        asking = x[:, :1] if first_alone else x
        asking = self.norm1(asking + self.self_attn(asking, x, bias))
        out: Tensor = self.norm2(asking + self.linear2(F.relu(self.linear1(asking))))
        return out


class Transformer(nn.Module):
    """The layers, in order."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.layers))


class Positions(nn.Module):
    """The table of positions; the checkpoint has it."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.register_buffer("pe", torch.empty(sizes.positions, 1, sizes.width))


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.LayerNorm(outputs), nn.GELU())


class Network(nn.Module):
    """The published network, without the table of tokens and the parts that no embedding needs."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.pos_encoder = Positions(sizes)
        self.encoder = nn.Sequential(nn.Linear(sizes.token_width, sizes.width), nn.GELU(), nn.LayerNorm(sizes.width))
        self.transformer_encoder = Transformer(sizes)
        self.decoder = nn.Sequential(
            _block(sizes.width, sizes.inner), _block(sizes.inner, sizes.output), _block(sizes.output, sizes.output),
            nn.Linear(sizes.output, sizes.output),
        )  # fmt: skip

    def encode_tokens(self, rows: Tensor) -> Tensor:
        """Return what a token brings to the first layer, shape (n_tokens, width).

        Parameters
        ----------
        rows
            Of the table, shape (n_tokens, token_width); each is scaled to the norm 1.
        """
        encoded: Tensor = self.encoder(F.normalize(rows, dim=-1)) * math.sqrt(self.sizes.width)
        return encoded

    def forward(self, vectors: Tensor, bias: Tensor | None) -> Tensor:
        """Return the embedding of each cell, of norm 1, shape (n_cells, output).

        The last layer and the decoder are computed for the first position alone, as no other is used.

        Parameters
        ----------
        vectors
            Of the tokens of each cell, as `encode_tokens` returns them, shape (n_cells, length, width).
        bias
            What is added to the attention that each position gets, shape (n_cells, 1, 1, length); None: nothing.
        """
        return F.normalize(self.decode(vectors, bias, first_alone=True)[:, 0].float(), dim=-1)

    def decode(self, vectors: Tensor, bias: Tensor | None, *, first_alone: bool = False) -> Tensor:
        """Return the decoder's output for each position or the first alone, shape (n_cells, n_positions, output)."""
        x = vectors + self.pos_encoder.pe[: vectors.shape[1], 0]
        layers = self.transformer_encoder.layers
        for number, layer in enumerate(layers):
            x = layer(x, bias, first_alone=first_alone and number == len(layers) - 1)
        decoded: Tensor = self.decoder(x)
        return decoded


def padding_bias(mask: Tensor, *, masked: bool) -> Tensor | None:
    """Return what is added to the attention that padding gets; None where there is no padding.

    The published code gives torch the padding as numbers, which are added: padding is attended to, by a factor of e
    more than it would be otherwise [quirk].

    Parameters
    ----------
    mask
        1 at tokens, 0 at padding, float32, shape (n_cells, length).
    masked
        Padding gets no attention.
    """
    if bool((mask > 0).all()):
        return None
    bias = (1 - mask)[:, None, None, :]
    return bias.masked_fill(bias > 0, -math.inf) if masked else bias
