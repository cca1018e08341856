"""The files of a recipe's datasets: named by the recipe, or fetched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pertharness.contract.cards import RemoteFile
from pertharness.contract.errors import FetchError, RecipeError
from pertharness.data.containers import is_zarr
from pertharness.files.whole import sha256_file
from pertharness.host.plan import Source
from pertharness.host.plugins.registry import Registry, look_up
from pertharness.host.recipe import Recipe

Fetch = Callable[[str, RemoteFile], Path]
"""Return the local file of a published dataset; fetch it if it is missing."""


def find_sources(recipe: Recipe, registry: Registry, fetch: Fetch) -> dict[str, Source]:
    """Return the file of each dataset of a recipe; fetch those that are missing.

    Raises
    ------
    RecipeError
        If a dataset that needs a file names none, or the file is not there.
    """
    sources = {}
    for name, entry in recipe.datasets.items():
        offered = look_up(registry.datasets, entry.offer)
        if entry.file is not None:
            if not entry.file.is_file() and not is_zarr(entry.file):
                problem = f"there is no file {str(entry.file)!r}" + (", it is a folder" if entry.file.is_dir() else "")
                is_offer = look_up(registry.datasets, entry.file.name) is not None
                hint = f"; a recipe with [datasets.{entry.file.name}] means the dataset on offer" if is_offer else ""
                raise RecipeError(f"dataset {name!r}: {problem}; expected an h5ad file or a zarr store{hint}")
            sources[name] = Source(entry.file.absolute(), sha256_file(entry.file))
        elif offered is not None and offered.offer.takes_file:
            raise RecipeError(
                f"dataset {name!r}: {entry.offer!r} reads a file; give --data FILE.h5ad, or file = in the recipe"
            )
        elif offered is not None and offered.offer.source is not None:
            try:
                path = fetch(entry.offer, offered.offer.source)
                sources[name] = Source(path, sha256_file(path))
            except FetchError as error:  # the others still run
                sources[name] = Source(problem=str(error))
    return sources
