"""Time what is computed on a device, and print figures, for the benchmarks of models in torch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import torch


class Clock:
    """Times what is computed on a device: wall time, and on a CPU processor time."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def seconds(self, work: Callable[[], Any]) -> float:
        """Return the time that some work takes, until the device has done it."""
        started = self._now()
        work()
        return self._now() - started

    def _now(self) -> float:
        if self.device.type != "cuda":
            return time.process_time()
        torch.cuda.synchronize(self.device)
        return time.perf_counter()


def report(what: str, **figures: object) -> None:
    """Print a figure."""
    rounded = {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in figures.items()}
    print(json.dumps({"what": what, **rounded}), flush=True)
