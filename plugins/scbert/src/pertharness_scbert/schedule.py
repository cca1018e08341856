"""The learning rate of the published fine-tuning: cycles of a rise and a cosine, each longer and lower than before."""

from __future__ import annotations

import math

LOWEST = 1e-6
"""Learning rate at the beginning of each cycle."""
FIRST_CYCLE = 15
"""Epochs of the first cycle."""
RISE = 5
"""Epochs in which the rate rises; what follows of a cycle is twice as long in the next one."""
DECAY = 0.9
"""Factor of the highest rate from cycle to cycle."""


def learning_rate(epoch: int, highest: float) -> float:
    """Return the learning rate of an epoch.

    Parameters
    ----------
    epoch
        From 0.
    highest
        Highest rate of the first cycle.
    """
    length, peak, t = FIRST_CYCLE, highest, epoch
    while t >= length:
        t -= length
        length = 2 * (length - RISE) + RISE
        peak *= DECAY
    share = t / RISE if t < RISE else (1 + math.cos(math.pi * (t - RISE) / (length - RISE))) / 2
    return LOWEST + (peak - LOWEST) * share
