"""The conformance kit, with a checkpoint of random weights in the published layout."""

import atexit
import shutil
import tempfile
from pathlib import Path

import pytest
from pertharness.testing import conformance
from pertharness.testing.planted import GENES

pytest.importorskip("torch", reason="needs the plugin's environment")
pytest.importorskip("transformers", reason="needs the plugin's environment")
from pertharness_geneformer.settings import FileNames
from pertharness_geneformer.tiny import write_tiny

# One gene has no token. The files have to be there when the cases are listed.
FOLDER = Path(tempfile.mkdtemp())
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
TINY = write_tiny(FOLDER, [gene for gene in GENES if gene != "TUBB"])
FAST = {"epochs": 2, "lr": 1e-3, "batch_size": 16, "pool_size": 20}
PATHS = {name: str(getattr(TINY, name)) for name in FileNames.model_fields}
# The medians are of the model alone.
PARAMS = {f"geneformer.{name}": value for name, value in FAST.items()} | PATHS

test_the_paper_procedure_keeps_its_promises = conformance("pertharness_geneformer", params=PARAMS)
test_the_corrected_procedure_keeps_its_promises = conformance(
    "pertharness_geneformer", params={**PARAMS, "geneformer.procedure": "corrected"}
)
