"""A small checkpoint for the planted genes, read as the published one is, and observed values of held-out cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from pertharness import targets_of
from pertharness.data.canonical import select
from pertharness.testing.planted import GENES, planted_cells, pose
from scipy import sparse

FILES = ("checkpoint", "symbols", "chromosomes", "offsets")


def oracle_of(cells, queries):
    """Return what `predict` is given of held-out cells: the values of each cell's own targets, stored where they are 0.

    With the total, the smallest value and the number of genes above 0.
    """
    held_out = cells[cells.obs["perturbation"].isin(queries).to_numpy()]
    expression = sparse.csr_matrix(held_out.X)
    names = [str(name) for name in cells.var_names]
    labels = held_out.obs["perturbation"].astype(str).to_numpy()
    targets = sorted({target for query in queries for target in targets_of(query)} & set(names))
    rows, columns, values = [], [], []
    for row, label in enumerate(labels):
        for target in sorted(set(targets_of(label)) & set(targets)):
            rows.append(row)
            columns.append(targets.index(target))
            values.append(expression[row, names.index(target)])
    shape = (len(labels), len(targets))
    x = sparse.csr_matrix((np.array(values, dtype=np.float32), (rows, columns)), shape=shape)
    dense = expression.toarray()
    above = np.where(dense > 0, dense, np.inf)
    smallest = above.min(axis=1, initial=np.inf).astype(np.float32)
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical(labels), "total": np.expm1(dense.astype(np.float64)).sum(axis=1),
            "smallest": np.where(np.isfinite(smallest), smallest, np.nan).astype(np.float32),
            "detected": (dense > 0).sum(axis=1).astype(np.int64),
        },
        index=held_out.obs_names,
    )  # fmt: skip
    return AnnData(X=x, obs=obs, var=pd.DataFrame(index=targets))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Parameters of a quick run: a checkpoint of random weights, and short sentences of few cells."""
    pytest.importorskip("torch", reason="torch is not installed: the plugin has its own environment")
    from pertharness_uce.tiny import write_tiny

    files = write_tiny(tmp_path_factory.mktemp("tiny"), GENES)
    return {name: str(getattr(files, name)) for name in FILES} | {"pool_size": 20, "sample_size": 48, "min_cells": 5}


@pytest.fixture
def posed():
    """The task of held-out doubles on planted cells."""
    return pose("double", "cells")


@pytest.fixture
def held_out(posed):
    """Observed values of the queries of `posed`."""
    return oracle_of(select(planted_cells(), ["control", *posed.queries]), posed.queries)


@pytest.fixture
def run_fit():
    """Fit as the hook does."""
    from pertharness_uce import fit

    def run(train, params, *, seed=1, name="uce"):
        return fit(name=name, train=train, files={}, params=params, device="cpu", seed=seed)

    return run


@pytest.fixture
def run_predict():
    """Predict as the hook does."""
    from pertharness_uce import predict

    def run(model, posed, oracle, *, seed=1, queries=None):
        return predict(model=model, controls=posed.controls, queries=queries or posed.queries, oracle=oracle, seed=seed)

    return run
