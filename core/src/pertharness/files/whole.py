"""Atomic writes of files, hashes of their content, and canonical JSON."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pertharness.files.trees import walk


def canonical_json(value: Any) -> str:
    """Return the canonical JSON text of a value: keys sorted, no spaces, no NaN, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_text(text: str) -> str:
    """Return the sha256 of a text, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file's content, or of all names and contents of a folder; files are read by 1 MiB."""
    if path.is_dir():
        return _sha256_folder(path)
    return _digest_of(path, hashlib.sha256())


def md5_file(path: Path) -> str:
    """Return the md5 of a file's content, for files of which nothing better is published."""
    return _digest_of(path, hashlib.md5(usedforsecurity=False))


def _digest_of(path: Path, digest: hashlib._Hash) -> str:
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _sha256_folder(top: Path) -> str:
    """Return the sha256 of a folder's content; a link counts by its target path, not by the target's content."""
    sums = []
    for entry in walk(top):
        name = "/".join([*entry.above, entry.name])
        if stat.S_ISREG(entry.facts.st_mode):
            digest = hashlib.sha256()
            opened = os.open(entry.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=entry.folder)
            with os.fdopen(opened, "rb") as file:
                while piece := file.read(1 << 20):
                    digest.update(piece)
            sums.append([name, digest.hexdigest()])
        elif stat.S_ISLNK(entry.facts.st_mode):
            sums.append([name, f"link to {os.readlink(entry.name, dir_fd=entry.folder)}"])
    return sha256_text(canonical_json(sorted(sums)))


@contextlib.contextmanager
def replacing(path: Path, *, mode: int = 0o644, synced: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` if the block ends without an error.

    A reader sees either the old file or the new one, never a part of it. After a crash the old file is still there.
    Without `synced` this holds for a crash of the process, but not of the machine.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        if synced:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, synced: bool = True) -> None:
    """Write a text file atomically; see `replacing`."""
    with replacing(path, synced=synced) as temporary:
        temporary.write_text(text, encoding="utf-8")
