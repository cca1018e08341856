"""Time the reference scorers against a loop over perturbations, with scipy or with numpy, in the same run.

    python benchmarks/scoring.py [--repeats N]

10 models x 5 splits x 62 perturbations x 1000 genes, the size of the published comparison of doubles. One thread.
"""

from __future__ import annotations

import os

# Before numpy is loaded, which reads them once.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from anndata import AnnData
from pertharness import CONTROL, make_prediction
from pertharness_scorers import score
from scipy.stats import pearsonr

MODELS, SPLITS, PERTURBATIONS, GENES = 10, 5, 62, 1000
METRICS = ("l2", "pearson", "pearson_delta")
Jobs = list[tuple[AnnData, AnnData]]


def make_jobs(rng: np.random.Generator) -> tuple[AnnData, Jobs]:
    """Give the controls and one pair of truth and prediction per model and split."""
    genes = [f"g{i:04d}" for i in range(GENES)]
    labels = [f"g{i:04d}+g{i + 100:04d}" for i in range(PERTURBATIONS)]
    y0 = rng.gamma(1.0, 1.0, GENES)
    jobs = []
    for _ in range(SPLITS):
        y = y0 + rng.normal(0, 0.2, (PERTURBATIONS, GENES))
        truth = make_prediction(dict(zip(labels, y, strict=True)), genes)
        for _ in range(MODELS):
            yhat = y + rng.normal(0, 0.2, y.shape)
            jobs.append((truth, make_prediction(dict(zip(labels, yhat, strict=True)), genes)))
    return make_prediction({CONTROL: y0}, genes), jobs


def by_scorers(controls: AnnData, jobs: Jobs) -> np.ndarray:
    """Score through the hook, both variants, tables included; give the default values."""
    tables = [
        score(name=metric, truth=truth, prediction=prediction, controls=controls, params={"n_top": GENES})
        for truth, prediction in jobs
        for metric in METRICS
    ]
    table = pd.concat(tables)
    return table.loc[table["variant"] == "default", "value"].to_numpy()


def by_loop(correlate: Callable[[np.ndarray, np.ndarray], float], controls: AnnData, jobs: Jobs) -> np.ndarray:
    """Score one perturbation at a time with numpy's norm and `correlate`, default variant only, no tables."""
    y0, values = controls.X[0], []
    for truth, prediction in jobs:
        pairs = list(zip(prediction.X, truth.X, strict=True))
        values += [float(np.linalg.norm(yhat - y)) for yhat, y in pairs]
        values += [correlate(yhat, y) for yhat, y in pairs]
        values += [correlate(yhat - y0, y - y0) for yhat, y in pairs]
    return np.array(values)


WAYS: dict[str, Callable[[AnnData, Jobs], np.ndarray]] = {
    "pertharness_scorers.score (2 variants, with tables)": by_scorers,
    "loop of scipy.stats.pearsonr (1 variant, no tables)": partial(by_loop, lambda a, b: pearsonr(a, b)[0]),
    "loop of numpy.corrcoef (1 variant, no tables)": partial(by_loop, lambda a, b: np.corrcoef(a, b)[0, 1]),
}


def best_time_s(function: Callable[[AnnData, Jobs], np.ndarray], controls: AnnData, jobs: Jobs, repeats: int) -> float:
    """Give the shortest wall time of several runs, after one that is not counted."""
    function(controls, jobs)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function(controls, jobs)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print the times and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    controls, jobs = make_jobs(np.random.default_rng(0))
    values = [way(controls, jobs) for way in WAYS.values()]
    for other in values[1:]:
        np.testing.assert_allclose(other, values[0], rtol=0, atol=1e-9)
    times = {name: best_time_s(way, controls, jobs, repeats) for name, way in WAYS.items()}
    print(f"{MODELS} models x {SPLITS} splits x {PERTURBATIONS} perturbations x {GENES} genes, {', '.join(METRICS)}")
    print(f"1 thread; data in memory, warm caches: best of {repeats} after one uncounted run; values equal to 1e-9")
    for name, time_s in times.items():
        print(f"{name:52} {time_s:7.3f} s   ratio to the scorers {time_s / times[next(iter(times))]:5.2f}")


if __name__ == "__main__":
    main()
