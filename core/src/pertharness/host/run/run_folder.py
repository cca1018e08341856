"""Read the folder of a run: find it, and check its manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pertharness.contract.errors import RecipeError
from pertharness.host.text.did_you_mean import expected

MANIFEST_FORMAT = 1


def folder_of_run(run: Path) -> Path:
    """Return the folder of a run, from its path or its name under ``runs``."""
    named = Path("runs") / run
    return named if not run.is_dir() and (named.is_dir() or run.parent == Path()) else run


def check_output(path: Path, *, is_file: bool) -> Path:
    """Return a path at which a file or a folder can be made, or replaced, as far as its kind goes.

    Raises
    ------
    RecipeError
        If a file is where a folder has to be, or a folder where the file has to be.
    """
    if is_file and path.is_dir():
        raise RecipeError(f"the output {str(path)!r} is a folder; expected the name of a file")
    for folder in (path, *path.parents)[is_file:]:
        if folder.exists() and not folder.is_dir():
            raise RecipeError(f"the output {str(path)!r} cannot be made: {str(folder)!r} is a file, not a folder")
    return path


def read_manifest(run: Path) -> dict[str, Any]:
    """Return the manifest of a run's folder.

    Raises
    ------
    RecipeError
        If there is none.
    """
    try:
        manifest: dict[str, Any] = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
        if manifest["format"] != MANIFEST_FORMAT:
            raise ValueError(f"format {manifest['format']!r} of manifest.json, this version reads {MANIFEST_FORMAT}")
        if not all({"stage", "state"} <= {*record} for record in manifest["records"].values()):
            raise ValueError("manifest.json names records without stage or state")
        _check_parts(manifest)
    except (FileNotFoundError, NotADirectoryError):
        names = sorted(path.parent.name for path in run.parent.glob("*/manifest.json"))
        problem = "is not the folder of a run (it has no manifest.json)" if run.exists() else "is no run"
        raise RecipeError(f"{str(run)!r} {problem}; in {str(run.parent)!r}: {expected(run.name, names)}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RecipeError(f"{str(run)!r} is not the folder of a run ({error}); name one such as runs/demo") from None
    return manifest


_FIELDS: dict[str, type] = {
    "attempts": list, "datasets": dict, "records": dict, "tables": dict, "store": str, "finished": str,
}  # fmt: skip
_PARTS: dict[str, type] = {
    "dataset": str, "task": str, "seed": int, "training_seed": int, "plugin": str, "model": str, "params": str,
    "prediction": str, "reason": str, "state": str,
}  # fmt: skip
"""The fields of an attempt that are read."""


def _check_parts(manifest: dict[str, Any]) -> None:
    """Raise a ValueError if a manifest does not have the form that a run writes."""
    for name, kind in _FIELDS.items():
        if not isinstance(manifest.get(name, kind()), kind):
            raise ValueError(f"{name!r} of manifest.json is {manifest[name]!r:.60}")
    for attempt in manifest["attempts"]:
        for name, kind in _PARTS.items():
            if not isinstance(attempt[name], kind):
                raise ValueError(f"{name!r} of an attempt in manifest.json is {attempt[name]!r:.60}")
        record = manifest["records"][attempt["prediction"]] if not attempt["reason"] else attempt | {"message": ""}
        if {"state", "message"} - set(record):
            raise ValueError(f"the record {attempt['prediction']!r:.60} in manifest.json has no state or message")


def state_of(manifest: Mapping[str, Any], attempt: Mapping[str, Any]) -> tuple[str, str]:
    """Return state and message of an attempt's prediction."""
    if attempt["reason"]:
        return attempt["state"], attempt["reason"]
    record = manifest["records"][attempt["prediction"]]
    return record["state"], record["message"]
