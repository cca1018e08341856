"""What a run's folder remembers of how its files were made, so that what would be the same is not made again.

It lies in ``joined.json`` beside the files. Everything is known by content: what entered by one sha256, each file by
its own. It is a memory and no record: it may be deleted, and of a damaged one nothing is believed.
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
"""Raised where files of the same input are other ones than before, and where the memory is laid out otherwise."""


@dataclass
class Memory:
    """What is remembered of a run's files.

    Attributes
    ----------
    entered
        sha256 over all that the files were made of; empty if nothing is remembered.
    files
        Path within the folder -> sha256.
    tables
        Name -> summary and number of rows of the tables beside the scores, as the manifest says it.
    parts
        Name of such a table -> its parts, as `pertharness.host.leaderboard.pooled.Part`.
    shown, notes
        The tables and notes of the leaderboard, as JSON.
    printed
        Width and kind of a terminal -> what was printed on it.
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
        """Return whether a folder's files were made of what enters now, and are all as they were written."""
        return self.entered == entered != "" and all(self.is_whole(folder, name) for name in self.files)

    def is_whole(self, folder: Path, name: str) -> bool:
        """Return whether a file is as it was written."""
        return name in self.files and sha256_of(folder / name) == self.files[name]


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, nothing if it cannot be read."""
    try:
        return sha256_file(path)
    except OSError:
        return ""


def read_memory(folder: Path) -> Memory:
    """Return what a run's folder remembers: nothing if there is none, it is damaged or of another version."""
    try:
        content = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        known = content["memory"]
        whole = content["format"] == FORMAT and content["sha256"] == sha256_text(canonical_json(known))
        return Memory(**known) if whole else Memory()
    except (OSError, ValueError, LookupError, TypeError):
        return Memory()


def write_memory(memory: Memory, folder: Path) -> None:
    """Write what is remembered."""
    known = vars(memory)
    text = json.dumps({"format": FORMAT, "sha256": sha256_text(canonical_json(known)), "memory": known})
    write_text(folder / FILE_NAME, text + "\n")


def digest_of(entering: Mapping[str, Any], sources: Iterable[Path]) -> str:
    """Return the sha256 over what enters, and over the files of the code that makes the files of it.

    Parameters
    ----------
    entering
        Any JSON; of paths and the like the text.
    sources
        Files, and folders with all below them.
    """
    files = [path for source in sources for path in (sorted(source.rglob("*")) if source.is_dir() else [source])]
    code = [(path.name, sha256_file(path)) for path in files if path.suffix in (".py", ".html")]
    text = json.dumps([FORMAT, code, dict(entering)], sort_keys=True, default=str)
    return sha256_text(text)
