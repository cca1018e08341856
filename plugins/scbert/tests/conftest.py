"""A small checkpoint for the planted genes, read as the published one is, and what an oracle says of held-out cells."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from pertharness import targets_of
from pertharness.data.canonical import select
from pertharness.testing.planted import GENES, planted_cells, pose
from scipy import sparse


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Parameters of a quick run: a checkpoint of random weights, its gene list, and little training."""
    pytest.importorskip("torch", reason="torch is not installed: the plugin has its own environment")
    from pertharness_scbert.tiny import write_tiny

    checkpoint, gene_list = write_tiny(tmp_path_factory.mktemp("tiny"), GENES)
    return {
        "checkpoint": str(checkpoint), "gene_list": str(gene_list), "epochs": 2, "min_genes": 10, "control_cells": 8,
        "accumulation_steps": 5,
    }  # fmt: skip


@pytest.fixture
def posed():
    """The task of held-out doubles on planted cells."""
    return pose("double", "cells")


@pytest.fixture
def make_oracle():
    """Return what the harness gives of held-out cells: values of their own targets, and totals over a gene list."""

    def make(queries, listed=GENES, cells=None):
        cells = select(planted_cells() if cells is None else cells, list(queries))
        genes = [str(gene) for gene in cells.var_names]
        dense = sparse.csr_matrix(cells.X).toarray()
        labels = cells.obs["perturbation"].astype(str).to_numpy()
        targets = sorted({target for query in queries for target in targets_of(query)} & set(genes))
        stored = [[targets.index(target) for target in targets_of(label) if target in targets] for label in labels]
        rows = np.repeat(np.arange(len(labels)), [len(columns) for columns in stored])
        columns = np.concatenate(stored).astype(int)
        values = dense[rows, [genes.index(targets[column]) for column in columns]]
        obs = pd.DataFrame(index=cells.obs_names)
        obs["perturbation"] = pd.Categorical(labels)
        for suffix, kept in (("", genes), ("_listed", [gene for gene in genes if gene in set(listed)])):
            part = dense[:, [genes.index(gene) for gene in kept]]
            obs[f"total{suffix}"] = np.expm1(part.astype(np.float64)).sum(axis=1)
            obs[f"smallest{suffix}"] = np.where(part > 0, part, np.inf).min(axis=1).astype(np.float32)
            obs[f"detected{suffix}"] = (part > 0).sum(axis=1)
        shape = (len(labels), len(targets))
        matrix = sparse.csr_matrix((values.astype(np.float32), (rows, columns)), shape=shape)
        return AnnData(X=matrix, obs=obs, var=pd.DataFrame(index=targets))

    return make


@pytest.fixture
def run_fit(tmp_path):
    """Fit on a posed task: what the hook does."""
    from pertharness_scbert import fit

    def run(posed, params, *, seed=1, folder=tmp_path, files=None):
        return fit(train=posed.train, files=files or {}, params=params, device="cpu", seed=seed, workdir=folder)

    return run
