"""What the tests of commands share, and those of the functions for Python."""

from collections.abc import Iterator

import pytest
from command_bench import Bench, make_bench
from door_bench import Door, open_door


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A screen, a split and a run that all tests of commands read; whoever changes them works on a copy."""
    return make_bench(tmp_path_factory.mktemp("commands"))


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A run that was carried out from Python; its folder is the current one while the module's tests run."""
    with open_door(tmp_path_factory.mktemp("door")) as opened:
        yield opened
