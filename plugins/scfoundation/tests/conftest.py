"""A small checkpoint for the planted genes, read as the published one is, and the parameters that name it."""

import pytest
from pertharness.testing.planted import GENES, pose


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Parameters of a quick run: a checkpoint of random weights, its gene list, terms, and little training."""
    pytest.importorskip("torch", reason="torch is not installed: the plugin has its own environment")
    from pertharness_scfoundation.tiny import write_tiny

    folder = tmp_path_factory.mktemp("tiny")
    checkpoint, gene_list = write_tiny(folder, GENES)
    terms = folder / "terms.csv"
    rows = [f"{gene},GO:{number % 4}" for number, gene in enumerate(GENES)]
    terms.write_text("\n".join(["gene,term", *rows]) + "\n", encoding="utf-8")
    return {
        "checkpoint": str(checkpoint), "gene_list": str(gene_list), "gene2go": str(terms), "epochs": 1,
        "control_cells": 12,
    }  # fmt: skip


@pytest.fixture
def posed():
    """The task of held-out doubles on planted cells."""
    return pose("double", "cells")


@pytest.fixture
def run_fit(tmp_path):
    """Fit on a posed task: what the hook does."""
    from pertharness_scfoundation import fit

    def run(posed, params, *, seed=1, val=True, folder=tmp_path):
        return fit(
            train=posed.train, val=posed.val if val else None, files={}, params=params, device="cpu", seed=seed,
            workdir=folder,
        )  # fmt: skip

    return run
