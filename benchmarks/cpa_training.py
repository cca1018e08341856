"""Time CPA inside the harness, Meter and Guard included, beside a plain script that drives the same package.

    ENVIRONMENT/bin/python benchmarks/cpa_training.py [GENES] [EPOCHS] [REPEATS]

Run with the Python of the plugin's environment (``pertharness env build plugins/cpa``); one thread. The two are done in
turn on a small demo, the package imported before; the best processor times are compared; the target is a ratio of at
most 1.05. The predictions have to be equal.
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import contextlib
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from pertharness import CONTROL, Task, targets_of
from pertharness.canonical import select
from pertharness.datasets import load_dataset
from pertharness.jobs import Job, PluginRef
from pertharness.worker.stages import guarded_hooks
from pertharness_cpa import OFFER
from pertharness_cpa.layout import validation_rows
from pertharness_cpa.settings import PUBLISHED_SEED, Settings

SEED, N_QUERIES = 1, 10
TASK = Task(dataset="demo", name="double", split_kind="double", split_seed=1)


def make_task(n_genes: int) -> tuple[AnnData, list[str]]:
    """Give training cells, and the doubles that are held out."""
    screen = load_dataset("demo", None, {"n_genes": n_genes})
    labels = sorted(set(screen.obs["perturbation"]))
    singles = {label for label in labels if len(targets_of(label)) == 1}
    queries = [label for label in labels if len(targets_of(label)) == 2 and singles.issuperset(targets_of(label))]
    return select(screen, [label for label in labels if label not in queries[:N_QUERIES]]), queries[:N_QUERIES]


def by_harness(train: AnnData, queries: list[str], epochs: int, home: Path) -> np.ndarray:
    """Fit and predict as a job does."""
    plugin = PluginRef(name="cpa", module="pertharness_cpa", version="0")
    hooks = guarded_hooks(Job(key="benchmark", stage="predictions", plugin=plugin, name="cpa"), [])
    common = {"name": "cpa", "task": TASK, "device": "cpu", "seed": SEED, "workdir": home}
    params = OFFER.params | {"max_epochs": epochs}
    model = hooks.fit(train=train, val=None, embeddings={}, references={}, params=params, files={}, **common)
    controls = select(train, [CONTROL])
    return np.asarray(hooks.predict(model=model, controls=controls, queries=queries, oracle=None, **common).X)


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


def seconds(work: Callable[[Path], np.ndarray]) -> tuple[float, float, np.ndarray]:
    """Give processor time, wall time and result of some work in a folder of its own, its chatter thrown away."""
    with (
        tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere, warnings.catch_warnings(),
        contextlib.redirect_stderr(nowhere), contextlib.redirect_stdout(nowhere),
    ):  # fmt: skip
        warnings.simplefilter("ignore")
        wall, processor = time.perf_counter(), time.process_time()
        result = work(Path(folder))
        return time.process_time() - processor, time.perf_counter() - wall, result


def main() -> None:
    """Time both."""
    import cpa  # noqa: F401
    import torch

    torch.set_num_threads(1)
    given = [int(text) for text in sys.argv[1:]]
    n_genes, epochs, repeats = [*given, *(500, 20, 3)[len(given) :]]
    train, queries = make_task(n_genes)
    ways = {"harness": by_harness, "script": by_script}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    results = {}
    for _ in range(repeats):
        for name, way in ways.items():
            processor, wall, results[name] = seconds(lambda home, way=way: way(train, queries, epochs, home))
            times[name].append((processor, wall))
    best = {name: [min(column) for column in zip(*rows, strict=True)] for name, rows in times.items()}
    print(f"{train.n_obs} cells, {n_genes} genes, {epochs} epochs; best of {repeats}; processor (wall) time")
    for name, (processor, wall) in best.items():
        print(f"{name}: {processor:.2f} s ({wall:.2f} s)")
    difference = np.abs(results["harness"] - results["script"]).max()
    print(f"ratio: {best['harness'][0] / best['script'][0]:.3f}; predictions differ by at most {difference:.1g}")


if __name__ == "__main__":
    main()
