"""The Meter: what each hook costs, of the process and all its children."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Generator
from typing import Any

import psutil

from pertharness.hookspecs import hookimpl
from pertharness.jobs import Phase

INTERVAL_S = 0.05
"""Between two samples of the memory, at least."""
SHARE = 0.005
"""Of the time that a hook takes, what sampling may cost: asking for children looks at every process of the machine."""


class Meter:
    """A pluggy wrapper of every hook that costs something; appends a `Phase` to `phases` per call."""

    def __init__(self, phases: list[Phase]) -> None:
        self.phases = phases

    def _measure(self, name: str) -> Generator[None, Any, Any]:
        process = psutil.Process()
        peak = _Peak(process)
        cpu, wall = _cpu_s(process), time.perf_counter()
        _reset_gpu()
        try:
            return (yield)
        finally:
            wall_s = time.perf_counter() - wall
            peak.stop()
            cpu_s, rss_mb = _cpu_s(process) - cpu, peak.rss / 1e6
            self.phases.append(Phase(name=name, wall_s=wall_s, cpu_s=cpu_s, peak_rss_mb=rss_mb, peak_gpu_mb=_gpu_mb()))

    @hookimpl(wrapper=True)
    def load_dataset(self) -> Generator[None, Any, Any]:
        """Measure loading."""
        return (yield from self._measure("load"))

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
    def score(self) -> Generator[None, Any, Any]:
        """Measure scoring."""
        return (yield from self._measure("score"))


class _Peak:
    """The largest resident size of a process tree, sampled by a thread until `stop`."""

    def __init__(self, process: psutil.Process) -> None:
        self.process = process
        self.rss = tree_rss(process)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        pause = INTERVAL_S
        while not self._done.wait(pause):
            before = time.thread_time()
            self.rss = max(self.rss, tree_rss(self.process))
            pause = max(INTERVAL_S, (time.thread_time() - before) / SHARE)

    def stop(self) -> None:
        """End the sampling with a last sample."""
        self._done.set()
        self._thread.join()
        self.rss = max(self.rss, tree_rss(self.process))


def tree_rss(process: psutil.Process) -> int:
    """Give the resident size in bytes of a process and all its children; 0 if it is gone."""
    total = 0
    try:
        for one in [process, *process.children(recursive=True)]:
            try:
                total += one.memory_info().rss
            except psutil.NoSuchProcess:  # ended between the listing and the question
                continue
    except psutil.NoSuchProcess:
        return total
    return total


def _cpu_s(process: psutil.Process) -> float:
    """Give the CPU seconds of a process and of its children, living and ended."""
    times = process.cpu_times()
    total = times.user + times.system + getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    for child in process.children(recursive=True):
        try:
            own = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += own.user + own.system
    return float(total)


def _reset_gpu() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _gpu_mb() -> float | None:
    """Give the peak memory that PyTorch took on the GPU; None where it was not imported, or there is no GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return float(torch.cuda.max_memory_reserved()) / 1e6
