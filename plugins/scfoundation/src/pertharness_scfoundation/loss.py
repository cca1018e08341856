"""What the graph model is trained on: fourth powers of errors, and the direction of the change from the controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

POWER = 4
"""Exponent of the errors (2 + gamma, with the published gamma of 2)."""


def perturbation_loss(
    predicted: Tensor, observed: Tensor, control_mean: Tensor, labels: Sequence[str], genes: Mapping[str, Tensor],
    direction_lambda: float,
) -> Tensor:  # fmt: skip
    """Return the loss of a batch: the mean over its perturbations of that of each.

    Of a perturbation, over its cells and genes: mean |predicted - observed|^4, and `direction_lambda` times the mean of
    (sign(observed - control) - sign(predicted - control))^2, which has no gradient. Source: GEARS, doi
    10.1038/s41587-023-01905-6.

    Parameters
    ----------
    predicted, observed
        Shape (cells, n_genes).
    control_mean
        Mean expression of the control cells, shape (n_genes,).
    labels
        Perturbation of each cell.
    genes
        Perturbation -> numbers of the genes that it is taken over, int64.
    """
    names = np.array(labels, dtype=object)
    losses = []
    for label in dict.fromkeys(labels):
        rows = torch.from_numpy(np.flatnonzero(names == label)).to(predicted.device)
        kept = genes[label]
        p, y, control = predicted[rows][:, kept], observed[rows][:, kept], control_mean[kept]
        direction = (torch.sign(y - control) - torch.sign(p - control)).square().mean()
        losses.append((p - y).pow(POWER).mean() + direction_lambda * direction)
    return torch.stack(losses).mean()
