"""Time the linear model on a large screen, beside the same equations with a full singular value decomposition.

    python benchmarks/linear.py [--repeats N]

1 500 training perturbations and as many queries x 5 000 genes, the size of a genome-scale screen's essential genes. One
thread. Both through AnnData, so that reading out of it and making the prediction are in both times.
"""

from __future__ import annotations

import os

# Before numpy is loaded, which reads them once.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import argparse
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from anndata import AnnData
from pertharness import CONTROL, make_prediction
from pertharness_baselines import embed, fit, predict

TRAINING, QUERIES, GENES = 1500, 1500, 5000


def make_screen(rng: np.random.Generator) -> tuple[AnnData, list[str]]:
    """Return the training means, and the queries: genes of the data that are not perturbed in them."""
    genes = [f"g{i:04d}" for i in range(GENES)]
    labels = [CONTROL, *genes[:TRAINING]]
    effects = rng.normal(size=(len(labels), 30)) @ rng.normal(size=(30, GENES))
    x = rng.gamma(0.5, 1.0, GENES) + 0.02 * effects + rng.normal(0, 0.05, effects.shape)
    obs = pd.DataFrame({"perturbation": labels}, index=[str(i) for i in range(len(labels))])
    return AnnData(X=x, obs=obs, var=pd.DataFrame(index=genes)), genes[TRAINING : TRAINING + QUERIES]


def by_plugin(train: AnnData, queries: list[str], **slots: str) -> AnnData:
    """Embed, fit and predict through the hooks."""
    kinds = {"G": "gene", "P": "perturbation"}
    labels = {"gene": list(train.var_names), "perturbation": [CONTROL, *train.obs["perturbation"][1:], *queries]}
    embeddings = {
        slot: embed(
            name=name, kind=kinds[slot], source=None, train=train, references={}, labels=labels[kinds[slot]],
            params={}, seed=1,
        )
        for slot, name in slots.items()
    }  # fmt: skip
    model = fit(name="linear", train=train, embeddings=embeddings, params={})
    return predict(name="linear", model=model, controls=train[:1], queries=queries)


def by_svd(train: AnnData, queries: list[str], k: int = 10, ridge: float = 0.1) -> AnnData:
    """Do the same with numpy as the equations stand, components by a singular value decomposition."""
    x = train.X.T
    left, singular, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    g = left[:, :k] * singular[:k]
    rows = dict(zip(train.var_names, g, strict=True))
    p = np.array([rows.get(label, np.zeros(k)) for label in train.obs["perturbation"]])
    offset = x.mean(axis=1)
    half = np.linalg.inv(g.T @ g + ridge * np.eye(k)) @ g.T @ (x - offset[:, None]) @ p
    w = half @ np.linalg.inv(p.T @ p + ridge * np.eye(k))
    return make_prediction({query: g @ w @ rows[query] + offset for query in queries}, train.var_names)


WAYS: dict[str, Callable[[AnnData, list[str]], AnnData]] = {
    "linear": by_plugin,
    "numpy with a full singular value decomposition": by_svd,
    "linear[G=identity]": lambda train, queries: by_plugin(train, queries, G="identity"),
    "linear[P=identity]": lambda train, queries: by_plugin(train, queries, P="identity"),
}


def best_time_s(way: Callable[[AnnData, list[str]], AnnData], repeats: int) -> float:
    """Return the shortest processor time of several runs: one thread's, and so the time on an idle machine."""
    train, queries = make_screen(np.random.default_rng(0))
    times = []
    for _ in range(repeats):
        start = time.process_time()
        way(train, queries)
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    """Print the times and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    own, plain, *_ = WAYS.values()
    given = make_screen(np.random.default_rng(0))
    np.testing.assert_allclose(own(*given).X, plain(*given).X, rtol=0, atol=1e-9)
    times = {name: best_time_s(way, repeats) for name, way in WAYS.items()}
    print(f"{TRAINING} training perturbations, {QUERIES} queries x {GENES} genes; 1 thread, best of {repeats}")
    for name, time_s in times.items():
        print(f"{name:48} {time_s:7.3f} s   ratio to linear {time_s / times['linear']:5.2f}")


if __name__ == "__main__":
    main()
