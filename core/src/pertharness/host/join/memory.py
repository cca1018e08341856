"""The memory of a run's folder: digests of its files and their inputs, so that unchanged files are not made again.

It is the file ``joined.json`` beside the files of the run. One sha256 covers all inputs, and each file has its own. The
memory is a cache: it may be deleted, and a damaged one is ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pertharness.files.whole import canonical_json, sha256_file, sha256_text, write_text

FILE_NAME = "joined.json"
FORMAT = 1
"""Version of the memory. Raise it when its layout changes, or when the same input gives different files."""


@dataclass
class Memory:
    """Digests of a run's files, and content that is shown again.

    Attributes
    ----------
    entered
        sha256 over all inputs of the files; empty if unknown.
    files
        Path within the folder -> sha256.
    tables
        Name -> summary and number of rows of the tables beside the scores, as in the manifest.
    parts
        Name of such a table -> its parts, as `pertharness.host.leaderboard.pooled.Part`.
    shown, notes
        The tables and notes of the leaderboard, as JSON.
    printed
        Width and kind of a terminal -> the text printed on it.
    lacking
        sha256 of a prediction -> the genes that it lacks.
    """

    entered: str = ""
    files: dict[str, str] = field(default_factory=dict)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    parts: dict[str, list[list[Any]]] = field(default_factory=dict)
    shown: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    printed: dict[str, str] = field(default_factory=dict)
    lacking: dict[str, list[str]] = field(default_factory=dict)

    def holds(self, entered: str, folder: Path) -> bool:
        """Return whether a folder's files were made from the present inputs and are all unchanged."""
        return self.entered == entered != "" and all(self.is_whole(folder, name) for name in self.files)

    def is_whole(self, folder: Path, name: str) -> bool:
        """Return whether a file is unchanged since it was written."""
        return name in self.files and sha256_of(folder / name) == self.files[name]


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file; empty if it cannot be read."""
    try:
        return sha256_file(path)
    except OSError:
        return ""


def read_memory(folder: Path) -> Memory:
    """Read the memory of a run's folder; an empty one if it is absent, damaged or of another version."""
    try:
        content = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        fields = content["memory"]
        is_valid = content["format"] == FORMAT and content["sha256"] == sha256_text(canonical_json(fields))
        return Memory(**fields) if is_valid else Memory()
    except (OSError, ValueError, LookupError, TypeError):
        return Memory()


def write_memory(memory: Memory, folder: Path) -> None:
    """Write the memory of a run's folder."""
    fields = vars(memory)
    text = json.dumps({"format": FORMAT, "sha256": sha256_text(canonical_json(fields)), "memory": fields})
    write_text(folder / FILE_NAME, text + "\n")


def digest_of(entering: Mapping[str, Any], sources: Iterable[Path]) -> str:
    """Return the sha256 over the inputs of a run's files and over the code that makes the files.

    Parameters
    ----------
    entering
        The inputs, as JSON; other values such as paths enter as text.
    sources
        Files of code, and folders of such files at any depth.
    """
    files = [path for source in sources for path in (sorted(source.rglob("*")) if source.is_dir() else [source])]
    code = [(path.name, sha256_file(path)) for path in files if path.suffix in (".py", ".html")]
    text = json.dumps([FORMAT, code, dict(entering)], sort_keys=True, default=str)
    return sha256_text(text)
