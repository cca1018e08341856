"""What a run's folder and its records held when the run was written: sums in its manifest, for `verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pertharness.files import canonical_json, sha256_file, sha256_text, write_text
from pertharness.jobs import Status

RUN_FILES = (
    "recipe.toml",
    "scores.csv.gz",
    "scores_half.csv.gz",
    "costs.csv",
    "leaderboard.csv",
    "leaderboard.json",
    "leaderboard.md",
)
RUN_FOLDERS = ("tables", "report")
"""Of these every file is the run's; whatever else lies in its folder is somebody else's."""


def files_of_run(folder: Path) -> list[str]:
    """Return the files that a run has written to its folder, all but the manifest, as paths relative to it."""
    below = [path for name in RUN_FOLDERS for path in (folder / name).rglob("*")]
    found = [path for path in [*(folder / name for name in RUN_FILES), *below] if path.is_file()]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a run's manifest once all its other files are there, with the sha256 of each under ``files``."""
    manifest["files"] = {name: sha256_file(folder / name) for name in files_of_run(folder)}
    write_text(folder / "manifest.json", json.dumps(manifest, indent=1))


def sum_of_artefacts(status: Status | None) -> str:
    """Return one sha256 for all artefacts of a record, empty where there is no record."""
    if status is None:
        return ""
    return sha256_text(canonical_json({name: artefact.sha256 for name, artefact in status.artefacts.items()}))
