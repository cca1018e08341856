"""A user's queries: collected from options and files, and read like the labels of a dataset."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pertharness.contract.errors import RecipeError
from pertharness.data.label_map import clean_text

MAX_BYTES = 10_000_000
"""Largest size of a file of queries in bytes: a million labels."""


def split_queries(parts: Iterable[str]) -> list[str]:
    """Return queries as written: the texts between commas or, for the path of a file, its lines.

    Raises
    ------
    RecipeError
        If a file cannot be read, or there is no query.
    """
    texts = [text for part in parts for text in (_lines_of(Path(part)) if _is_file(part) else part.split(","))]
    queries = list(dict.fromkeys(filter(None, map(clean_text, texts))))
    if not queries:
        raise RecipeError(
            "there is no query; expected perturbations, such as KLF1,CEBPE+KLF1, or a file with one per line"
        )
    return queries


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long, or impossible, as a path
        return False


def _lines_of(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise RecipeError(f"the queries {str(path)!r} are larger than {MAX_BYTES} bytes; expected one label a line")
        return content.decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RecipeError(f"the queries {str(path)!r} cannot be read: {reason}; expected one label a line") from None


def read_queries(queries: Iterable[str], dataset: Path, params: Mapping[str, Any]) -> dict[str, str]:
    """Return the perturbation that each query means.

    Parameters
    ----------
    queries
        As a user writes them.
    dataset
        Folder of the dataset's record.
    params
        Parameters that its labels were read with.

    Raises
    ------
    RecipeError
        If a query cannot be read, with the reason.
    """
    # Another process reads the labels, because the host does not import the plugin that does.
    request = json.dumps({"queries": list(queries), "dataset": str(dataset), "params": dict(params)})
    command = [sys.executable, "-I", "-m", "pertharness.worker.external.query_labels"]
    done = subprocess.run(command, input=request, capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise RecipeError(lines[-1] if lines else "the queries cannot be read")
    meanings: dict[str, str] = json.loads(done.stdout)
    return meanings
