"""The Meter: measures the cost of each hook in the process that calls it.

The watcher measures the cost of the whole job, including all its processes, from outside.
"""

from __future__ import annotations

import contextlib
import resource
import sys
import threading
import time
from collections.abc import Generator
from typing import Any

import psutil

from pertharness.contract.hookspecs import hookimpl
from pertharness.contract.jobs import Phase

INTERVAL_S = 0.05
"""Time between two samples of the memory."""


class Meter:
    """A pluggy wrapper around all costly hooks; it appends a `Phase` to `phases` per call."""

    def __init__(self, phases: list[Phase]) -> None:
        self.phases = phases

    def _measure(self, name: str) -> Generator[None, Any, Any]:
        peak = _Peak()
        cpu, wall = _cpu_s(), time.perf_counter()
        _reset_gpu()
        try:
            return (yield)
        finally:
            wall_s = time.perf_counter() - wall
            peak.stop()
            cpu_s, rss_mb = _cpu_s() - cpu, peak.rss / 1e6
            self.phases.append(Phase(name=name, wall_s=wall_s, cpu_s=cpu_s, peak_rss_mb=rss_mb, peak_gpu_mb=_gpu_mb()))

    @hookimpl(wrapper=True)
    def load_dataset(self) -> Generator[None, Any, Any]:
        """Measure loading."""
        return (yield from self._measure("load"))

    @hookimpl(wrapper=True)
    def make_side_file(self) -> Generator[None, Any, Any]:
        """Measure the making of a side file."""
        return (yield from self._measure("make"))

    @hookimpl(wrapper=True)
    def embed(self) -> Generator[None, Any, Any]:
        """Measure an embedding."""
        return (yield from self._measure("embed"))

    @hookimpl(wrapper=True)
    def fit(self) -> Generator[None, Any, Any]:
        """Measure fitting."""
        return (yield from self._measure("fit"))

    @hookimpl(wrapper=True)
    def predict(self) -> Generator[None, Any, Any]:
        """Measure predicting."""
        return (yield from self._measure("predict"))

    @hookimpl(wrapper=True)
    def save_model(self) -> Generator[None, Any, Any]:
        """Measure saving."""
        return (yield from self._measure("save"))

    @hookimpl(wrapper=True)
    def load_model(self) -> Generator[None, Any, Any]:
        """Measure restoring."""
        return (yield from self._measure("restore"))

    @hookimpl(wrapper=True)
    def score(self) -> Generator[None, Any, Any]:
        """Measure scoring."""
        return (yield from self._measure("score"))


class _Peak:
    """Samples the resident memory of this process in a thread until `stop`; `rss` is the largest value."""

    def __init__(self) -> None:
        self.process = psutil.Process()
        self.rss = 0
        self._take_sample()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _take_sample(self) -> None:
        with contextlib.suppress(psutil.Error, OSError):  # a measurement that fails must not end a training
            self.rss = max(self.rss, int(self.process.memory_info().rss))

    def _sample(self) -> None:
        while not self._done.wait(INTERVAL_S):
            self._take_sample()

    def stop(self) -> None:
        """Take a last sample and stop."""
        self._done.set()
        self._thread.join()
        self._take_sample()


def _cpu_s() -> float:
    """Return the CPU time of this process and its finished children, in seconds."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return float(sum(usage.ru_utime + usage.ru_stime for usage in usages))


def _reset_gpu() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _gpu_mb() -> float | None:
    """Return the peak GPU memory of PyTorch; None if PyTorch is not imported or there is no GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return float(torch.cuda.max_memory_reserved()) / 1e6
