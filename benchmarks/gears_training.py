"""Time GEARS inside the harness, Meter and Guard included, beside a plain script that drives the same package.

    ENVIRONMENT/bin/python benchmarks/gears_training.py [CELLS] [GENES] [EPOCHS] [REPEATS]

Run with the Python of the plugin's environment (``pertharness env build gears``); one thread. The two are done in turn
on one made-up screen, and the best processor times are compared; the target is a ratio of at most 1.05.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from training import SEED, compare, predict_in_harness  # before numpy: it sets the number of threads

# isort: split

import numpy as np
import pandas as pd
from anndata import AnnData
from pertharness import CONTROL
from pertharness_gears import MODEL
from pertharness_gears.conditions import assemble, plan_conditions
from pertharness_gears.graph import make_edges
from scipy import sparse

N_PERTURBED, N_TERMS = 20, 60


def make_screen(n_cells: int, n_genes: int) -> tuple[AnnData, AnnData, dict[str, set[str]]]:
    """Return training and validation cells, and terms of the genes."""
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


def in_harness(train: AnnData, val: AnnData, terms: dict[str, set[str]], epochs: int, home: Path) -> np.ndarray:
    """Fit and predict as a job does."""
    (home / "gene2go.pkl").write_bytes(pickle.dumps(terms))
    params = {"epochs": epochs, "gene2go": str(home / "gene2go.pkl")}
    queries = list(train.var_names[1 : N_PERTURBED + 1])
    return predict_in_harness(MODEL, "pertharness_gears", train, val, queries, params, home)


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


def main() -> None:
    """Time both."""
    import gears  # noqa: F401

    given = [int(text) for text in sys.argv[1:]]
    n_cells, n_genes, epochs, repeats = [*given, *(1500, 500, 3, 3)[len(given) :]]
    screen = make_screen(n_cells, n_genes)
    compare(
        f"GEARS, {n_cells} cells, {n_genes} genes, {epochs} epochs",
        lambda home: in_harness(*screen, epochs, home),
        lambda home: by_script(*screen, epochs, home),
        repeats,
    )


if __name__ == "__main__":
    main()
