"""What a run's folder and its records held when the run was written: sums in its manifest, for `verify`."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pertharness.contract.jobs import Status
from pertharness.files.whole import canonical_json, sha256_file, sha256_text, write_text
from pertharness.host.store.records import JOB, STATUS

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


def sums_of_record(folder: Path, status: Status | None) -> dict[str, str]:
    """Return what a run's manifest holds of a record, by which `verify` knows it again: see `describe_change`.

    Parameters
    ----------
    folder
        Of the record.
    status
        The one that the run was joined from; None where there is no record.

    Returns
    -------
    ``artefacts``: one sha256 for all of them; ``status`` and ``job``: those of the two files, as the run knew them.
    """
    artefacts = {"artefacts": sum_of_artefacts(status)}
    if status is None:
        return artefacts
    try:
        text, job = (folder / STATUS).read_bytes(), sha256_file(folder / JOB)
    except OSError:  # it was taken away since it was read
        text, job = b"", ""
    return {**artefacts, "status": _sum_of_status(text, status), "job": job}


def _sum_of_status(text: bytes, status: Status) -> str:
    """Return the sha256 of a status file if it says what the run was joined from, else that of the file which would.

    The file may have changed while the run was under way, and one of an older version is written otherwise.
    """
    mine = status.model_dump_json(indent=1).encode()
    if text != mine:
        with contextlib.suppress(ValidationError):
            mine = text if Status.model_validate_json(text) == status else mine
    return hashlib.sha256(mine).hexdigest()


def describe_change(folder: Path, recorded: Mapping[str, str]) -> str:
    """Return what of a record is not what a run's manifest holds of it, empty where all is or nothing was held.

    Parameters
    ----------
    folder
        Of the record.
    recorded
        From `sums_of_record`; older versions wrote less.

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    names = [name for kind, name in (("status", STATUS), ("job", JOB))
             if recorded.get(kind) and sha256_file(folder / name) != recorded[kind]]  # fmt: skip
    return " and ".join(names)


def sum_of_artefacts(status: Status | None) -> str:
    """Return one sha256 for all artefacts of a record, empty where there is no record."""
    if status is None:
        return ""
    return sha256_text(canonical_json({name: artefact.sha256 for name, artefact in status.artefacts.items()}))
