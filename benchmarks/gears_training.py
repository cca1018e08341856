"""Time GEARS' training in the harness's hooks beside a plain script that drives the same package.

    ENVIRONMENT/bin/python benchmarks/gears_training.py [CELLS] [GENES] [EPOCHS] [REPEATS]

Run with the Python of the plugin's environment (``pertharness env build gears``); one thread. The two are done in turn
on one made-up screen, and the best processor times are compared; the target is a ratio of at most 1.05.
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import contextlib
import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from pertharness import CONTROL
from pertharness_gears import MODEL, fit, predict
from pertharness_gears.conditions import assemble, plan_conditions
from pertharness_gears.graph import make_edges
from scipy import sparse

N_PERTURBED, N_TERMS, SEED = 20, 60, 1


def make_screen(n_cells: int, n_genes: int) -> tuple[AnnData, AnnData, dict[str, set[str]]]:
    """Give training and validation cells, and terms of the genes."""
    rng = np.random.default_rng(0)
    genes = [f"g{i:04d}" for i in range(n_genes)]
    labels = np.array([CONTROL, *genes[:N_PERTURBED]], dtype=object)[np.arange(n_cells) % (N_PERTURBED + 1)]
    counts = rng.poisson(rng.gamma(0.5, 1.0, n_genes), (n_cells, n_genes))
    values = sparse.csr_matrix(np.log1p(counts * (1e4 / counts.sum(axis=1, keepdims=True))).astype(np.float32))
    obs = pd.DataFrame({"perturbation": pd.Categorical(labels)}, index=[f"c{i}" for i in range(n_cells)])
    adata = AnnData(X=values, obs=obs, var=pd.DataFrame(index=genes))
    is_val = labels == genes[0]
    terms = {gene: {f"t{t}" for t in rng.choice(N_TERMS, 5, replace=False)} for gene in genes}
    return adata[~is_val].copy(), adata[is_val].copy(), terms


def by_hooks(train: AnnData, val: AnnData, terms: dict[str, set[str]], epochs: int, home: Path) -> np.ndarray:
    """Fit and predict as a job does."""
    (home / "gene2go.pkl").write_bytes(pickle.dumps(terms))
    params = {**MODEL.params, "epochs": epochs, "gene2go": str(home / "gene2go.pkl")}
    model = fit(train=train, val=val, files={}, params=params, device="cpu", seed=SEED, workdir=home)
    queries = list(train.var_names[1 : N_PERTURBED + 1])
    return np.asarray(predict(model=model, controls=train, queries=queries, seed=SEED).X)


def by_script(train: AnnData, val: AnnData, terms: dict[str, set[str]], epochs: int, home: Path) -> np.ndarray:
    """Fit and predict as a script does that has its cells and its files as cell-gears wants them."""
    import torch
    from gears import GEARS, PertData

    genes = sorted(terms)
    (home / "gene2go_all.pkl").write_bytes(pickle.dumps(terms))
    (home / "essential_all_data_pert_genes.pkl").write_bytes(pickle.dumps(genes))
    (home / "go_essential_all").mkdir()
    make_edges(terms, genes).to_csv(home / "go_essential_all" / "go_essential_all.csv", index=False)
    adata = assemble(train, val, plan_conditions(train, val, frozenset(genes), 32, SEED))
    conditions = [list(dict.fromkeys(adata.obs["condition"].iloc[rows])) for rows in (
        slice(None, train.n_obs), slice(train.n_obs, None))]  # fmt: skip
    np.random.seed(SEED)
    data = PertData(str(home))
    data.new_data_process("task", adata)
    data.load(data_path=str(home / "task"))
    data.set2conditions = dict(zip(("train", "val"), conditions, strict=True))
    data.split, data.subgroup, data.seed, data.train_gene_set_size = "no_test", None, SEED, 0.75
    data.get_dataloader(32)
    torch.manual_seed(SEED)
    model = GEARS(data, device="cpu")
    model.model_initialize(hidden_size=64)
    model.train(epochs=epochs)
    np.random.seed(SEED)
    return np.array([model.predict([[gene]])[gene] for gene in train.var_names[1 : N_PERTURBED + 1]], dtype=np.float64)


def seconds(work: Callable[[Path], np.ndarray]) -> tuple[float, float, np.ndarray]:
    """Give processor time, wall time and result of some work in a folder of its own, its chatter thrown away."""
    with (
        tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stderr(nowhere), contextlib.redirect_stdout(nowhere),
    ):  # fmt: skip
        wall, processor = time.perf_counter(), time.process_time()
        result = work(Path(folder))
        return time.process_time() - processor, time.perf_counter() - wall, result


def main() -> None:
    """Time both."""
    import torch

    torch.set_num_threads(1)
    given = [int(text) for text in sys.argv[1:]]
    n_cells, n_genes, epochs, repeats = [*given, *(1500, 500, 3, 3)[len(given) :]]
    train, val, terms = make_screen(n_cells, n_genes)
    ways = {"hooks": by_hooks, "script": by_script}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    results = {}
    for _ in range(repeats):
        for name, way in ways.items():
            processor, wall, results[name] = seconds(lambda home, way=way: way(train, val, terms, epochs, home))
            times[name].append((processor, wall))
    best = {name: [min(column) for column in zip(*rows, strict=True)] for name, rows in times.items()}
    print(f"{n_cells} cells, {n_genes} genes, {epochs} epochs; best of {repeats}; processor (wall) time")
    for name, (processor, wall) in best.items():
        print(f"{name}: {processor:.2f} s ({wall:.2f} s)")
    same = np.array_equal(results["hooks"], results["script"])
    print(f"ratio: {best['hooks'][0] / best['script'][0]:.3f}; equal predictions: {same}")


if __name__ == "__main__":
    main()
