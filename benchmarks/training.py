"""What the benchmarks of training share: a model inside the harness beside a plain script, in turn, on one thread."""

from __future__ import annotations

import os

# Before numpy is loaded, which reads them once.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import contextlib
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData
from pertharness import CONTROL, ModelOffer, Task
from pertharness.contract.jobs import Job, PluginRef
from pertharness.worker.hooks import guarded_hooks

SEED = 1
Way = Callable[[Path], np.ndarray]


def predict_in_harness(
    offer: ModelOffer, module: str, train: AnnData, val: AnnData | None, queries: list[str], params: dict[str, Any],
    home: Path,
) -> np.ndarray:  # fmt: skip
    """Fit and predict as a job does, Meter and Guard included."""
    plugin = PluginRef(name=offer.name, module=module, version="0")
    hooks = guarded_hooks(Job(key="benchmark", stage="predictions", plugin=plugin, name=offer.name), [])
    task = Task(dataset="made-up", name=offer.tasks[0], split_kind="double", split_seed=1)
    common = {"name": offer.name, "task": task, "device": "cpu", "seed": SEED, "workdir": home}
    model = hooks.fit(
        train=train, val=val, embeddings={}, references={}, params={**offer.params, **params}, files={}, **common
    )
    controls = train[(train.obs["perturbation"] == CONTROL).to_numpy()].copy()
    return np.asarray(hooks.predict(model=model, controls=controls, queries=queries, oracle=None, **common).X)


def compare(what: str, in_harness: Way, by_script: Way, repeats: int) -> None:
    """Time both in turn, and print best processor and wall times, their ratio, and how far the predictions differ."""
    import torch

    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    ways = {"harness": in_harness, "script": by_script}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    results = {}
    for _ in range(repeats):
        for name, way in ways.items():
            processor, wall, results[name] = _seconds(way)
            times[name].append((processor, wall))
    best = {name: [min(column) for column in zip(*rows, strict=True)] for name, rows in times.items()}
    print(f"{what}; best of {repeats}; processor (wall) time")
    for name, (processor, wall) in best.items():
        print(f"{name}: {processor:.2f} s ({wall:.2f} s)")
    difference = np.abs(results["harness"] - results["script"]).max()
    print(f"ratio: {best['harness'][0] / best['script'][0]:.3f}; predictions differ by at most {difference:.1g}")


def _seconds(way: Way) -> tuple[float, float, np.ndarray]:
    """Return processor time, wall time and result of some work in a folder of its own, its chatter thrown away."""
    with (
        tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere, warnings.catch_warnings(),
        contextlib.redirect_stderr(nowhere), contextlib.redirect_stdout(nowhere),
    ):  # fmt: skip
        warnings.simplefilter("ignore")
        wall, processor = time.perf_counter(), time.process_time()
        result = way(Path(folder))
        return time.process_time() - processor, time.perf_counter() - wall, result
