"""A small checkpoint for the planted genes, read as the published one is, and what an oracle says of held-out cells."""

import pytest
from pertharness.data.oracle import observe_targets
from pertharness.testing.planted import GENES, planted_cells, pose


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
        return observe_targets(planted_cells() if cells is None else cells, queries, listed)

    return make


@pytest.fixture
def run_fit(tmp_path):
    """Fit on a posed task: what the hook does."""
    from pertharness_scbert import fit

    def run(posed, params, *, seed=1, folder=tmp_path, files=None):
        return fit(train=posed.train, files=files or {}, params=params, device="cpu", seed=seed, workdir=folder)

    return run
