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
    from pertharness_scfoundation.tiny import write_tiny

    folder = Path(tempfile.mkdtemp(prefix="scfoundation-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    checkpoint, gene_list = write_tiny(folder, GENES)
    terms = folder / "gene2go.csv"
    rows = [f"{gene},GO:{number % 4}" for number, gene in enumerate(GENES)]
    terms.write_text("\n".join(["gene,term", *rows]) + "\n", encoding="utf-8")
    return {"checkpoint": checkpoint, "gene_list": gene_list, "gene2go": terms}


if HAS_TORCH:
    # What so little training is worth is another question.
    PARAMS = {name: str(path) for name, path in _files().items()} | {"epochs": 1, "control_cells": 20}
    test_the_paper_procedure_keeps_its_promises = conformance("pertharness_scfoundation", params=PARAMS)
    test_the_corrected_procedure_keeps_its_promises = conformance(
        "pertharness_scfoundation", params=PARAMS | {"procedure": "corrected"}
    )
