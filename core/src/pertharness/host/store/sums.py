"""Checksums of a run's files and records in its manifest, for `verify`."""

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
"""Folders whose files all belong to the run; other files in its folder do not."""


def files_of_run(folder: Path) -> list[str]:
    """Return the files that a run has written to its folder, except the manifest, as relative paths."""
    below = [path for name in RUN_FOLDERS for path in (folder / name).rglob("*")]
    files = [path for path in [*(folder / name for name in RUN_FILES), *below] if path.is_file()]
    return sorted(path.relative_to(folder).as_posix() for path in files)


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a run's manifest after all its other files, with the sha256 of each under ``files``."""
    manifest["files"] = {name: sha256_file(folder / name) for name in files_of_run(folder)}
    write_text(folder / "manifest.json", json.dumps(manifest, indent=1))


def sums_of_record(folder: Path, status: Status | None) -> dict[str, str]:
    """Return the checksums of a record for a run's manifest, which `describe_change` compares.

    Parameters
    ----------
    folder
        Folder of the record.
    status
        Status that the run was joined from; None if there is no record.

    Returns
    -------
    ``artefacts``: one sha256 for all artefacts; ``status`` and ``job``: those of the two files, as the run read them.
    """
    artefacts = {"artefacts": sum_of_artefacts(status)}
    if status is None:
        return artefacts
    try:
        text, job = (folder / STATUS).read_bytes(), sha256_file(folder / JOB)
    except OSError:  # removed since it was read
        text, job = b"", ""
    return {**artefacts, "status": _sum_of_status(text, status), "job": job}


def _sum_of_status(text: bytes, status: Status) -> str:
    """Return the sha256 of a status file if it has the status of the run, else that of a file with this status.

    The file may have changed during the run, and an older version writes it in another form.
    """
    mine = status.model_dump_json(indent=1).encode()
    if text != mine:
        with contextlib.suppress(ValidationError):
            mine = text if Status.model_validate_json(text) == status else mine
    return hashlib.sha256(mine).hexdigest()


def describe_change(folder: Path, recorded: Mapping[str, str]) -> str:
    """Return the names of a record's files that differ from a run's manifest; empty if none does or none is recorded.

    Parameters
    ----------
    folder
        Folder of the record.
    recorded
        From `sums_of_record`; older versions recorded less.

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    names = [name for kind, name in (("status", STATUS), ("job", JOB))
             if recorded.get(kind) and sha256_file(folder / name) != recorded[kind]]  # fmt: skip
    return " and ".join(names)


def sum_of_artefacts(status: Status | None) -> str:
    """Return one sha256 for all artefacts of a record; empty if there is no record."""
    if status is None:
        return ""
    return sha256_text(canonical_json({name: artefact.sha256 for name, artefact in status.artefacts.items()}))
