"""The sha256 of large files, remembered for as long as these look untouched."""

from __future__ import annotations

import json
import time
from pathlib import Path

from pertharness.files import sha256_file, write_text

FILE_NAME = "hashes.json"
_SETTLED_NS = 2_000_000_000
"""A file that changed so recently may change again within a tick of its clock; the coarsest, FAT, ticks every 2 s."""


def remembered_sha256(path: Path, folder: Path) -> str:
    """Give the sha256 of a file; it is read again only where size or times are not what they were.

    Parameters
    ----------
    path
        The file.
    folder
        Where ``hashes.json`` lies: size, times and sha256 by path. It is a memory and no record: it may be deleted.
    """
    memory = folder / FILE_NAME
    facts = path.stat()
    look = [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]
    known = _read(memory)
    name = str(path.absolute())
    if known.get(name, [])[:3] == look:
        return str(known[name][3])
    digest = sha256_file(path)
    if time.time_ns() - max(look[1:]) > _SETTLED_NS:
        write_text(memory, json.dumps({**_read(memory), name: [*look, digest]}, indent=1))
    return digest


def _read(memory: Path) -> dict[str, list[int | str]]:
    """Give what is remembered; of a damaged memory nothing."""
    try:
        found = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    entries = found.items() if isinstance(found, dict) else ()
    return {name: entry for name, entry in entries if isinstance(entry, list) and len(entry) == 4}
