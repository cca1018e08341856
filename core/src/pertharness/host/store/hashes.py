"""Cache the sha256 of files for as long as their identity is unchanged."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from pathlib import Path

from pertharness.files.trees import walk
from pertharness.files.whole import canonical_json, sha256_file, sha256_text, write_text

FILE_NAME = "hashes.json"
_SETTLED_NS = 2_000_000_000
"""A file that changed so recently may change again within one clock tick; the coarsest tick, of FAT, is 2 s."""


def identity_of(facts: os.stat_result) -> tuple[int, int, int, int]:
    """Return the identity of a file: device, inode, and times of the last change of content and of inode in ns."""
    return facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns


def look_at(path: Path) -> tuple[int, ...]:
    """Return size and identity of a file, or of everything in a folder, which show whether it has changed.

    A folder has those of all entries, hashed into one number, because its own do not show changes below it.
    """
    facts = path.stat()
    if not stat.S_ISDIR(facts.st_mode):
        return facts.st_size, *identity_of(facts)
    entries = sorted(
        ["/".join([*entry.above, entry.name]), entry.facts.st_size, *identity_of(entry.facts)] for entry in walk(path)
    )
    return len(entries), int(sha256_text(canonical_json(entries)), 16)


def last_write(path: Path) -> int:
    """Return when a file, or the newest file in a folder, was last written, in ns."""
    newest = max((entry.facts.st_mtime_ns for entry in walk(path)), default=0) if path.is_dir() else 0
    return max(newest, path.stat().st_mtime_ns)


class Sums:
    """Checksums of files by path; a file is read again if its device, inode, size or times have changed.

    Parameters
    ----------
    folder
        Folder of ``hashes.json``, which has size, identity and sha256 by path. It is a cache and may be deleted.
    """

    def __init__(self, folder: Path) -> None:
        self._memory = folder / FILE_NAME
        self._cached = _read(self._memory)
        self._new: dict[str, list[int | str]] = {}

    def of(self, path: Path) -> str:
        """Return the sha256 of a file."""
        if path.is_dir():  # not cached: it may have a thousand files
            return sha256_file(path)
        facts = path.stat()
        look = [facts.st_size, *identity_of(facts)]
        name = str(path.absolute())
        cached = self._new.get(name) or self._cached.get(name) or []
        if cached[:-1] == look:
            return str(cached[-1])
        digest = sha256_file(path)
        if time.time_ns() - max(facts.st_mtime_ns, facts.st_ctime_ns) > _SETTLED_NS:
            self._new[name] = [*look, digest]
        return digest

    def save(self) -> None:
        """Write new checksums, beside those that other runs have written meanwhile."""
        if self._new:
            self._cached = {**_read(self._memory), **self._new}
            self._new = {}
            with contextlib.suppress(OSError):  # without write access, they are computed again
                write_text(self._memory, json.dumps(self._cached, indent=1), synced=False)


def remembered_sha256(path: Path, folder: Path) -> str:
    """Return the sha256 of a file, cached by `Sums` in `folder`."""
    sums = Sums(folder)
    digest = sums.of(path)
    sums.save()
    return digest


def _read(memory: Path) -> dict[str, list[int | str]]:
    """Return the cached checksums; none if the cache is absent or damaged."""
    try:
        content = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    entries = content.items() if isinstance(content, dict) else ()
    return {name: entry for name, entry in entries if isinstance(entry, list) and len(entry) == 6}
