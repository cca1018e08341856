"""Read the facts of a user's file in a process of its own, because a plugin reads files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pertharness.contract.errors import DataError, RecipeError
from pertharness.data.label_map import read_label_map
from pertharness.host.recipe.models import LABEL_MAP

Facts = dict[str, Any]
"""The facts that docs/data-check.md describes."""


def read_facts(file: Path, name: str, params: Mapping[str, Any]) -> Facts:
    """Return the facts of a file and how it is read, without making a dataset in the store.

    Parameters
    ----------
    file
        An existing file.
    name
        Name of the dataset, for messages.
    params
        Parameters of the dataset, as in a recipe.

    Returns
    -------
    dict
        The facts, with a key ``error`` if a run could not use the file.

    Raises
    ------
    DataError
        If the process that reads the file fails.
    RecipeError
        If the label map cannot be read.
    OSError
        If the file is not readable.
    """
    if file.is_file():
        file.open("rb").close()
    request = json.dumps({"file": str(file.absolute()), "params": _with_label_map(params, name)})
    command = [sys.executable, "-I", "-W", "ignore", "-m", "pertharness.datasets.screen_facts"]
    done = subprocess.run(command, input=request, capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [_ending(done.returncode)]
        raise DataError(f"dataset {name!r}: {str(file)!r} could not be read: {last[0]}; expected a complete h5ad file")
    facts: Facts = json.loads(done.stdout.splitlines()[-1])
    return facts


def _with_label_map(params: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return parameters with the content of a label map in place of its path."""
    if not isinstance(params.get(LABEL_MAP), str):
        return dict(params)
    try:
        return {**params, LABEL_MAP: read_label_map(Path(params[LABEL_MAP]))}
    except DataError as error:
        raise RecipeError(f"dataset {name!r}: {error}") from error


def _ending(status: int) -> str:
    """Return how a process without a message ended."""
    return f"the reading process was ended by signal {-status}" if status < 0 else f"exit status {status}"
