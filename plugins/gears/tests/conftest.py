"""cell-gears as jobs import it: without dcor, and with a folder of its own for what numba compiles."""

import importlib

import pytest
from pertharness import Skip
from pertharness_gears.upstream import load_gears


@pytest.fixture(scope="session")
def gears(tmp_path_factory):
    """Return cell-gears. Test processes that share what numba compiles may read each other's half-written files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_CACHE_DIR", str(tmp_path_factory.mktemp("numba")))
        try:
            load_gears()
        except Skip as skip:
            pytest.skip(str(skip))
    return importlib.import_module("gears")
