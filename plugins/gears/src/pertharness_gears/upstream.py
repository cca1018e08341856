"""The published package: imported quietly, without network, with its global seeds set in one place."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from pertharness import Skip


def load_gears() -> None:
    """Import cell-gears, and undo that its import silences all warnings of the process.

    Raises
    ------
    Skip
        If it is not installed here.
    """
    if importlib.util.find_spec("gears") is None:
        raise Skip(
            f"cell-gears is not installed in {sys.prefix}: build the plugin's environment: pertharness env build gears"
        )
    with warnings.catch_warnings(), _without_dcor():
        warnings.simplefilter("ignore")
        import gears  # noqa: F401


@contextlib.contextmanager
def _without_dcor() -> Iterator[None]:
    """Replace dcor by an empty module while cell-gears is imported.

    dcor compiles itself when it is imported, for half a minute, into files of the environment; of two jobs that do so
    at once one reads what the other has half written, and is ended by LLVM. cell-gears takes a single function of it,
    for interaction scores of its own, which are not asked for here.
    """
    if "dcor" in sys.modules or "gears" in sys.modules:
        yield
        return
    stand_in = types.ModuleType("dcor")
    stand_in.__dict__["distance_correlation"] = _no_dcor
    sys.modules["dcor"] = stand_in
    try:
        yield
    finally:
        del sys.modules["dcor"]


def _no_dcor(*args: Any) -> Any:
    """Raise an error, because dcor is left out."""
    raise NotImplementedError("distance correlations of cell-gears are not available inside the harness")


@contextlib.contextmanager
def guest() -> Iterator[None]:
    """Prevent downloads and warnings of cell-gears within the block.

    It fetches whatever file it misses, keeps the answer whatever that was, and takes it for the file from then on.
    """
    requests: Any = importlib.import_module("requests")
    before = requests.get
    requests.get = _no_network
    try:
        with warnings.catch_warnings():
            # From scanpy, pandas and torch, caused by calls of cell-gears.
            warnings.simplefilter("ignore")
            yield
    finally:
        requests.get = before


def _no_network(url: str, *args: Any, **kwargs: Any) -> Any:
    """Raise an error instead of a download."""
    raise OSError(f"cell-gears asked for {url}; the harness gives it all its files, and no network")


def seed_numpy(seed: int) -> None:
    """Seed numpy's global generator: which control a cell is paired with, which controls a prediction starts from."""
    np.random.seed(seed)


def seed_torch(seed: int) -> None:
    """Seed torch's global generators: initial weights, order of the cells."""
    import torch

    torch.manual_seed(seed)
