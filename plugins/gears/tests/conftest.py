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


def pytest_terminal_summary(terminalreporter):
    """Print how far the predictions are from the reference, and which of its two tolerances held."""
    for report in [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]:
        for name, value in getattr(report, "user_properties", ()):
            if name == "parity" and report.when == "call":
                terminalreporter.write_line(f"GEARS beside its reference, {value}")
