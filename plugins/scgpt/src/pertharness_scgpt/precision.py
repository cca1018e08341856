"""The precision of the layers: what the procedure says on a GPU, float32 on a CPU."""

from __future__ import annotations

import torch
from pertharness_foundation.device import Precision, choose_precision

from pertharness_scgpt.settings import Precision as Requested

PROVEN = False
"""Whether means in bfloat16 were found as near to those in float32 as ``choose_precision`` asks for, at published size;
``benchmarks/scgpt.py`` compares them on a GPU."""


def precision_on(device: torch.device, requested: Requested) -> Precision:
    """Return the precision on a device; that of the published code is float32 wherever there is no GPU."""
    if device.type != "cuda":
        return "float32"
    return choose_precision(device, requested, proven=PROVEN)
