"""A small checkpoint for the planted genes, read as the published one is, and observed values of held-out cells."""

from __future__ import annotations

import pytest
from pertharness.data.oracle import observe_targets
from pertharness.testing.planted import GENES, planted_cells, pose

FILES = ("checkpoint", "symbols", "chromosomes", "offsets")


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
    return observe_targets(planted_cells(), posed.queries)


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
