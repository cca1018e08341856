"""Files of predictions that were made elsewhere, checked before a run begins."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pertharness.contract.errors import RecipeError
from pertharness.data.containers import is_zarr
from pertharness.host.recipe import Recipe, make_recipe


def check_prediction_file(path: Path, choices: Mapping[str, str]) -> None:
    """Check a file of predictions as far as possible without its dataset.

    Parameters
    ----------
    path
        Of the h5ad file.
    choices
        How it is read: ``kind``, ``label_column``, ``gene_column``, ``layer``.

    Raises
    ------
    RecipeError
        If it is not there or cannot be used.
    """
    if not path.is_file() and not is_zarr(path):
        raise RecipeError(f"there is no file {str(path)!r}; expected predictions as h5ad")
    # Another process opens it, because a damaged file can crash the library that reads it.
    request = json.dumps({"file": str(path.absolute()), "choices": dict(choices)})
    command = [sys.executable, "-I", "-m", "pertharness.worker.external.check"]
    done = subprocess.run(command, input=request, capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise RecipeError(lines[-1] if lines else f"{str(path)!r} cannot be read; expected predictions as h5ad")


def with_predictions(recipe: Recipe, files: Mapping[str, Path], choices: Mapping[str, str]) -> Recipe:
    """Return the recipe of one dataset with files of predictions of it, by their names on the leaderboard.

    Raises
    ------
    RecipeError
        If a name cannot be that of a model.
    """
    entries = [{"name": name, "file": str(path.absolute()), **choices} for name, path in files.items()]
    name = f"{recipe.name}-{'-'.join(files)}"[:100]
    return make_recipe({**recipe.model_dump(exclude_none=True), "name": name, "predictions": entries})
