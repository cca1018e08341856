"""The sha256 of files, remembered for as long as these look untouched."""

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
"""A file that changed so recently may change again within a tick of its clock; the coarsest, FAT, ticks every 2 s."""


def identity_of(facts: os.stat_result) -> tuple[int, int, int, int]:
    """Return what tells whether a file is the one it was: device, inode, last changes of content and of inode in ns."""
    return facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns


def look_at(path: Path) -> tuple[int, ...]:
    """Return what tells whether a file, or all that lies in a folder, is what it was: its size and identity.

    Of a folder they are those of all entries, folded into one number: a change below it shows nowhere in its own facts.
    """
    facts = path.stat()
    if not stat.S_ISDIR(facts.st_mode):
        return facts.st_size, *identity_of(facts)
    entries = sorted(
        ["/".join([*entry.above, entry.name]), entry.facts.st_size, *identity_of(entry.facts)] for entry in walk(path)
    )
    return len(entries), int(sha256_text(canonical_json(entries)), 16)


def last_write(path: Path) -> int:
    """Return when a file, or the newest of all that lies in a folder, was last written, in ns."""
    newest = max((entry.facts.st_mtime_ns for entry in walk(path)), default=0) if path.is_dir() else 0
    return max(newest, path.stat().st_mtime_ns)


class Sums:
    """Sums of files by path; one is read again where device, inode, size or times are not what they were.

    Parameters
    ----------
    folder
        Where ``hashes.json`` lies: size, identity and sha256 by path. It is a memory and no record: it may be deleted.
    """

    def __init__(self, folder: Path) -> None:
        self._memory = folder / FILE_NAME
        self._known = _read(self._memory)
        self._new: dict[str, list[int | str]] = {}

    def of(self, path: Path) -> str:
        """Return the sha256 of a file."""
        if path.is_dir():  # of a thousand files, whose times are no memory worth keeping
            return sha256_file(path)
        facts = path.stat()
        look = [facts.st_size, *identity_of(facts)]
        name = str(path.absolute())
        known = self._new.get(name) or self._known.get(name) or []
        if known[:-1] == look:
            return str(known[-1])
        digest = sha256_file(path)
        if time.time_ns() - max(facts.st_mtime_ns, facts.st_ctime_ns) > _SETTLED_NS:
            self._new[name] = [*look, digest]
        return digest

    def save(self) -> None:
        """Write what was read anew, beside what other runs have written meanwhile."""
        if self._new:
            self._known = {**_read(self._memory), **self._new}
            self._new = {}
            with contextlib.suppress(OSError):  # where nothing can be written, it is worked out again
                write_text(self._memory, json.dumps(self._known, indent=1), synced=False)


def remembered_sha256(path: Path, folder: Path) -> str:
    """Return the sha256 of a file, as `Sums` remembers it in `folder`."""
    sums = Sums(folder)
    digest = sums.of(path)
    sums.save()
    return digest


def _read(memory: Path) -> dict[str, list[int | str]]:
    """Return what is remembered; of a damaged memory nothing."""
    try:
        content = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    entries = content.items() if isinstance(content, dict) else ()
    return {name: entry for name, entry in entries if isinstance(entry, list) and len(entry) == 6}
