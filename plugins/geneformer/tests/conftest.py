"""A small checkpoint for the planted genes, read as the published one is, and the parameters that name it."""

import pytest
from pertharness.testing import pose

FAST = {"epochs": 2, "lr": 1e-3, "batch_size": 16, "pool_size": 20}
UNKNOWN = ("TP53", "TUBB")
"""Planted genes without a token; the first one is perturbed."""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The parameters that name five files with random weights."""
    pytest.importorskip("torch", reason="needs the plugin's environment")
    from pertharness.testing.planted import GENES
    from pertharness_geneformer.settings import FileNames
    from pertharness_geneformer.tiny import write_tiny

    files = write_tiny(tmp_path_factory.mktemp("tiny"), [gene for gene in GENES if gene not in UNKNOWN])
    return {name: str(getattr(files, name)) for name in FileNames.model_fields}


@pytest.fixture(scope="session")
def fast():
    """Parameters of a short training."""
    return FAST


@pytest.fixture(scope="session")
def posed():
    """The task of held-out doubles on planted cells, of a screen by CRISPRa."""
    return pose("double", "cells")


@pytest.fixture
def train(tiny, posed, tmp_path_factory):
    """Fit on a posed task: what the hook does."""
    from pertharness_geneformer import MODEL, fit

    def fitted(posed=posed, workdir=None, *, seed=1, task=None, **params):
        return fit(
            train=posed.train, task=task or posed.task, files={}, params={**MODEL.params, **FAST, **tiny, **params},
            device="cpu", seed=seed, workdir=workdir or tmp_path_factory.mktemp("job"),
        )  # fmt: skip

    return fitted


@pytest.fixture(autouse=True)
def single_thread():
    """Compute with one thread: the networks are small."""
    torch = pytest.importorskip("torch", reason="needs the plugin's environment")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
