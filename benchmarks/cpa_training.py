"""Time CPA inside the harness, Meter and Guard included, beside a plain script that drives the same package.

    ENVIRONMENT/bin/python benchmarks/cpa_training.py [GENES] [EPOCHS] [REPEATS]

Run with the Python of the plugin's environment (``pertharness env build plugins/cpa``); one thread. The two are done in
turn on a small demo, the package imported before; the best processor times are compared; the target is a ratio of at
most 1.05. The predictions have to be equal.
"""

from __future__ import annotations

import sys
from pathlib import Path

from training import SEED, compare, predict_in_harness  # before numpy: it sets the number of threads

# isort: split

import numpy as np
import pandas as pd
from anndata import AnnData
from pertharness import CONTROL, targets_of
from pertharness.data.canonical import select
from pertharness.datasets import load_dataset
from pertharness_cpa import OFFER
from pertharness_cpa.layout import validation_rows
from pertharness_cpa.settings import PUBLISHED_SEED, Settings

N_QUERIES = 10


def make_task(n_genes: int) -> tuple[AnnData, list[str]]:
    """Return training cells, and the doubles that are held out."""
    screen = load_dataset("demo", None, {"n_genes": n_genes})
    labels = sorted(set(screen.obs["perturbation"]))
    singles = {label for label in labels if len(targets_of(label)) == 1}
    queries = [label for label in labels if len(targets_of(label)) == 2 and singles.issuperset(targets_of(label))]
    return select(screen, [label for label in labels if label not in queries[:N_QUERIES]]), queries[:N_QUERIES]


def by_script(train: AnnData, queries: list[str], epochs: int, home: Path) -> np.ndarray:
    """Fit and predict as a script does that has its counts, and upstream's row for each query."""
    import cpa

    cpa.CPA.pert_encoder = cpa.CPA.covars_encoder = cpa.CPA.pert_smiles_map = None
    labels = np.array(["ctrl" if label == CONTROL else label for label in train.obs["perturbation"]], dtype=object)
    controls = np.flatnonzero(labels == "ctrl")
    is_valid = validation_rows(len(labels), 0.1, np.random.default_rng(SEED))
    rows = np.concatenate([np.arange(len(labels)), np.repeat(controls[:1], len(queries))])
    conditions = np.concatenate([labels, queries])
    splits = np.concatenate([np.where(is_valid, "valid", "train"), ["ood"] * len(queries)])
    doses = ["+".join("1.0" for _ in condition.split("+")) for condition in conditions]
    obs = pd.DataFrame({"condition": conditions, "dose_val": doses, "split": splits})
    obs.index = [f"c{i}" for i in range(len(rows))]
    counts = train.layers["counts"].tocsr()
    adata = AnnData(counts[rows], obs=obs, var=pd.DataFrame(index=train.var_names))
    settings = Settings()
    cpa.CPA.setup_anndata(
        adata, perturbation_key="condition", control_group="ctrl", dosage_key="dose_val", categorical_covariate_keys=[],
        is_count_data=True, max_comb_len=2,
    )  # fmt: skip
    model = cpa.CPA(
        adata, split_key="split", train_split="train", valid_split="valid", test_split="ood", seed=PUBLISHED_SEED,
        **settings.model.model_dump(),
    )  # fmt: skip
    model.train(
        use_gpu=False, plan_kwargs=settings.plan.model_dump(), save_path=False, enable_progress_bar=False,
        **settings.train.model_dump() | {"max_epochs": epochs},
    )  # fmt: skip
    means = []
    for query in queries:
        asked = adata[np.repeat(np.flatnonzero(conditions == query), len(controls))].copy()
        asked.X = counts[controls]
        model.predict(asked, batch_size=2048)
        predicted = asked.obsm["CPA_pred"].astype(np.float64)
        means.append(np.log1p(predicted * (1e4 / predicted.sum(axis=1, keepdims=True))).mean(axis=0))
    return np.array(means)


def main() -> None:
    """Time both."""
    import cpa  # noqa: F401

    given = [int(text) for text in sys.argv[1:]]
    n_genes, epochs, repeats = [*given, *(500, 20, 3)[len(given) :]]
    train, queries = make_task(n_genes)
    compare(
        f"CPA, {train.n_obs} cells, {n_genes} genes, {epochs} epochs",
        lambda home: predict_in_harness(OFFER, "pertharness_cpa", train, None, queries, {"max_epochs": epochs}, home),
        lambda home: by_script(train, queries, epochs, home),
        repeats,
    )


if __name__ == "__main__":
    main()
