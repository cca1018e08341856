"""Performer layers (FAVOR+ attention, doi 10.48550/arXiv.2009.14794) with the keys of the published checkpoints.

Attention without the matrix of all pairs: the exponential of a product of query and key is the mean of a product of
random features of each, so that its cost grows with the length of the sequence and not with its square.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

EPSILON = 1e-4
"""Added to each feature, as published: it does not cancel, so that the maximum of the keys shows in the results."""
REDRAW_EVERY = 1000
"""Calls in training mode after which the random features are drawn again, as published."""
KeyMaximum = Literal["batch", "cell"] | float
"""What the exponents of keys are reduced by: see `Performer`."""


class RandomFeatures(nn.Module):
    """Attention through random features, over all heads."""

    projection_matrix: Tensor

    def __init__(self, dim_head: int, n_features: int) -> None:
        super().__init__()
        self.register_buffer("projection_matrix", draw_projection(n_features, dim_head))

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_maximum: KeyMaximum, repeats: Tensor | None = None
    ) -> Tensor:
        """Return the attention, shape (n_cells, n_heads, length, dim_head), of queries, keys and values of that shape.

        The factor m^(-1/2) of the features is left out, as it cancels.
        """
        features = _features(key, self.projection_matrix, key_maximum, repeats)
        context = features.transpose(-1, -2) @ value
        total = features.sum(dim=-2).unsqueeze(-1)
        del features
        features = _features(query, self.projection_matrix, None)
        return (features @ context) / (features @ total)


def _features(x: Tensor, projection: Tensor, key_maximum: KeyMaximum | None, repeats: Tensor | None = None) -> Tensor:
    """Return the features exp(u - n - maximum) + epsilon of queries (their own maxima; None) or of keys.

    Parameters
    ----------
    repeats
        How often each key stands in the sequence, shape (n_cells, length): its features are multiplied by it, and one
        that stands there no time has no part in a maximum.
    """
    scale = x.shape[-1] ** -0.25
    u = x @ (projection * scale).to(x.dtype).T
    if repeats is not None:
        u = u.masked_fill((repeats == 0)[:, None, :, None], -math.inf)
    if key_maximum is None:
        maximum = u.amax(dim=-1, keepdim=True)
    elif key_maximum == "batch":
        maximum = u.amax()
    elif key_maximum == "cell":
        maximum = u.amax(dim=(1, 2, 3), keepdim=True)
    else:
        maximum = torch.as_tensor(key_maximum, dtype=u.dtype, device=u.device)
    shift = x.square().sum(dim=-1, keepdim=True) * (scale * scale / 2) + maximum
    # In place where no gradient needs it: at published size, u is the largest array of all.
    features = torch.exp(u - shift) + EPSILON if u.requires_grad else u.sub_(shift).exp_().add_(EPSILON)
    return features if repeats is None else features * repeats[:, None, :, None].to(features.dtype)


def draw_projection(n_features: int, dim_head: int, generator: torch.Generator | None = None) -> Tensor:
    """Return random directions, orthogonal in blocks of `dim_head`, with lengths of Gaussian vectors.

    Parameters
    ----------
    n_features
        Rows; the last block may be a part.
    generator
        By default torch's global one.

    Returns
    -------
    Tensor
        float32, shape (n_features, dim_head).
    """
    blocks = []
    for _ in range(math.ceil(n_features / dim_head)):
        q, _ = torch.linalg.qr(torch.randn(dim_head, dim_head, generator=generator))
        blocks.append(q.T)
    lengths = torch.randn(n_features, dim_head, generator=generator).norm(dim=1, keepdim=True)
    return torch.cat(blocks)[:n_features] * lengths


class Attention(nn.Module):
    """Projections to queries, keys and values, attention, and the projection back."""

    def __init__(self, dim: int, heads: int, dim_head: int, n_features: int, *, bias: bool) -> None:
        super().__init__()
        inner = heads * dim_head
        self.heads = heads
        self.fast_attention = RandomFeatures(dim_head, n_features)
        self.to_q = nn.Linear(dim, inner, bias=bias)
        self.to_k = nn.Linear(dim, inner, bias=bias)
        self.to_v = nn.Linear(dim, inner, bias=bias)
        self.to_out = nn.Linear(inner, dim)

    def forward(self, x: Tensor, key_maximum: KeyMaximum, repeats: Tensor | None = None) -> Tensor:
        """Return the attention within each row of `x`, shape (n_cells, length, dim)."""
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.to_q, self.to_k, self.to_v)
        )
        attended = self.fast_attention(query, key, value, key_maximum, repeats)
        return self.to_out(attended.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with an exact GELU between them, four times as wide."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, 4 * dim)
        self.w2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layers' output, shape (n_cells, length, dim)."""
        return self.w2(nn.functional.gelu(self.w1(x)))


class Named(nn.Module):
    """A module under the name ``fn``, which the published keys have."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn


class Normed(Named):
    """A layer norm before a module."""

    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__(fn)
        self.norm = nn.LayerNorm(dim)


class Layers(nn.Module):
    """The layers, each a pair of attention and feed-forward, under the name ``layers``."""

    def __init__(self, pairs: list[nn.ModuleList]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(pairs)


class Performer(nn.Module):
    """Pre-norm layers of FAVOR+ attention and feed-forward, without dropout and without a mask.

    Parameters
    ----------
    dim, depth, heads, dim_head
        Width, layers, heads, and width of a head, which need not be dim / heads.
    n_features
        Random features of a head; by default the whole part of dim_head ln(dim_head).
    bias
        Whether queries, keys and values have one.
    key_maximum
        What is subtracted from the exponents of keys. ``batch``: their maximum over all cells of the batch, as
        published, so that a result depends on the cells beside it [quirk]; ``cell``: their maximum within the cell; a
        number: the same for all.
    """

    calls_since_last_redraw: Tensor

    def __init__(
        self, dim: int, depth: int, heads: int, dim_head: int = 64, *, n_features: int | None = None,
        bias: bool = False, key_maximum: KeyMaximum = "batch",
    ) -> None:  # fmt: skip
        super().__init__()
        self.key_maximum = key_maximum
        count = int(dim_head * math.log(dim_head)) if n_features is None else n_features
        self.net = Layers([
            nn.ModuleList([
                Normed(dim, Attention(dim, heads, dim_head, count, bias=bias)), Normed(dim, Named(FeedForward(dim))),
            ])
            for _ in range(depth)
        ])  # fmt: skip
        self.register_buffer("calls_since_last_redraw", torch.tensor(0))

    def forward(self, x: Tensor, repeats: Tensor | None = None) -> Tensor:
        """Return the output of the last layer, shape (n_cells, length, dim); no norm follows.

        Parameters
        ----------
        repeats
            How often each row of `x` stands in the sequence, shape (n_cells, length): rows that are equal, as those of
            equal tokens are where there are no positions, then stand in `x` once. None: once each.
        """
        if self.training:
            self._count_call()
        for attention, feed_forward in self.net.layers:
            x = x + attention.fn(attention.norm(x), self.key_maximum, repeats)
            x = x + feed_forward.fn.fn(feed_forward.norm(x))
        return x

    def _count_call(self) -> None:
        """Draw the random features again after so many calls in training mode; the count is part of a checkpoint."""
        if int(self.calls_since_last_redraw) >= REDRAW_EVERY:
            self.redraw()
            self.calls_since_last_redraw.zero_()
        else:
            self.calls_since_last_redraw += 1

    def redraw(self, generator: torch.Generator | None = None) -> None:
        """Draw the random features of every layer anew; `generator` is by default torch's global one."""
        for attention, _ in self.net.layers:
            matrix = attention.fn.fast_attention.projection_matrix
            n_features, dim_head = matrix.shape
            matrix.copy_(draw_projection(n_features, dim_head, generator))
