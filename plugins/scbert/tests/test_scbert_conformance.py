"""The conformance kit with a small checkpoint of random weights, read as the published one is."""

import atexit
import importlib.util
import shutil
import tempfile
from pathlib import Path

import pytest
from pertharness.testing import conformance
from pertharness.testing.planted import GENES

HAS_TORCH = importlib.util.find_spec("torch") is not None
pytestmark = pytest.mark.skipif(not HAS_TORCH, reason="torch is not installed: the plugin has its own environment")


def _files() -> dict[str, Path]:
    """Write what the card's files are, for the planted genes."""
    from pertharness_scbert.tiny import write_tiny

    folder = Path(tempfile.mkdtemp(prefix="scbert-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    checkpoint, gene_list = write_tiny(folder, GENES)
    return {"checkpoint": checkpoint, "gene_list": gene_list}


if HAS_TORCH:
    # What so little training is worth is another question.
    PARAMS = {name: str(path) for name, path in _files().items()} | {"epochs": 1, "control_cells": 8, "min_genes": 10}
    test_the_paper_procedure_keeps_its_promises = conformance("pertharness_scbert", params=PARAMS)
    test_the_corrected_procedure_keeps_its_promises = conformance(
        "pertharness_scbert", params=PARAMS | {"procedure": "corrected"}
    )
