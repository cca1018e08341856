"""The conformance kit, with a checkpoint of random weights in the published layout."""

import atexit
import shutil
import tempfile
from pathlib import Path

import pytest
from pertharness.testing import conformance
from pertharness.testing.planted import GENES

pytest.importorskip("torch", reason="needs the plugin's environment")
from pertharness_uce.tiny import write_tiny

# One gene is not among its symbols. The files have to be there when the cases are listed.
FOLDER = Path(tempfile.mkdtemp(prefix="uce-tiny-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
TINY = write_tiny(FOLDER, [gene for gene in GENES if gene != "TUBB"])
PATHS = {name: str(getattr(TINY, name)) for name in ("checkpoint", "symbols", "chromosomes", "offsets")}
FAST = {"pool_size": 20, "sample_size": 48, "min_cells": 5}
PARAMS = {f"{offer}.{name}": value for offer in ("uce", "uce_33l") for name, value in (PATHS | FAST).items()}
CORRECTED = PARAMS | {f"{offer}.procedure": "corrected" for offer in ("uce", "uce_33l")}

test_the_paper_procedure_keeps_its_promises = conformance("pertharness_uce", params=PARAMS)
test_the_corrected_procedure_keeps_its_promises = conformance("pertharness_uce", params=CORRECTED)
