"""The plugin of the built-in datasets: the demo, any h5ad file, and four published screens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness.contract.cards import Card
from pertharness.contract.hookspecs import hookimpl
from pertharness.datasets.demo import DEMO, load_demo, make_demo_file
from pertharness.datasets.h5ad import H5AD, load_h5ad
from pertharness.datasets.published import PUBLISHED, load_published

if TYPE_CHECKING:
    from anndata import AnnData

    from pertharness.data.stored import Stored

_LOADERS: dict[str, Callable[[str, Path | None, Mapping[str, Any]], AnnData | Stored]] = {
    DEMO.name: load_demo,
    H5AD.name: load_h5ad,
    **{offer.name: load_published for offer in PUBLISHED},
}


@hookimpl
def describe() -> Card:
    """Return the card with the built-in datasets."""
    return Card(datasets=(DEMO, H5AD, *PUBLISHED))


@hookimpl
def load_dataset(name: str, source: Path | None, params: Mapping[str, Any]) -> AnnData | Stored:
    """Return a dataset in the canonical form."""
    return _LOADERS[name](name, source, params)


@hookimpl
def make_side_file(name: str, file: str, params: Mapping[str, Any], path: Path) -> None:
    """Write a side file of the demo, the one dataset here that has some."""
    make_demo_file(name, file, params, path)
