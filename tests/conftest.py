"""What the tests of commands share."""

import pytest
from command_bench import Bench, make_bench


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A screen, a split and a run that all tests of commands read; whoever changes them works on a copy."""
    return make_bench(tmp_path_factory.mktemp("commands"))
