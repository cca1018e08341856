"""Find damaged files of installed packages.

uv links files from its cache into every environment, so damage to one file is damage to all, and to the cache.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

_UNCHECKED = (".pyc", ".h", ".hpp", ".cuh")
"""Files that Python rewrites, and those that only compilers read, thousands in torch."""


def damaged_packages(packages: Path, besides: Collection[str] = ()) -> dict[str, list[str]]:
    """Return files that are missing or whose size differs from the installed one, by package.

    Only sizes are compared: checksums over gigabytes would take longer than most jobs.

    Parameters
    ----------
    packages
        Folder in which packages are installed.
    besides
        Files to skip.
    """
    damaged: dict[str, list[str]] = {}
    for record in sorted(packages.glob("*.dist-info/RECORD")):
        for line in record.read_text(encoding="utf-8", errors="replace").splitlines():
            path, _, size = line.rpartition(",")
            path = path.rpartition(",")[0].strip('"')
            unchecked = not size or path.endswith(_UNCHECKED) or path in besides
            if not unchecked and _size(f"{packages}/{path}") != int(size):
                damaged.setdefault(record.parent.name.split("-")[0], []).append(path)
    return damaged


def describe_damage(damaged: dict[str, list[str]]) -> str:
    """Return a description of the damaged files from `damaged_packages`."""
    name, files = next(iter(damaged.items()))
    n = sum(map(len, damaged.values()))
    which = f"of {name}" if len(damaged) == 1 else f"of {len(damaged)} packages"
    files_are = f"{n} files {which} are" if n > 1 else f"1 file {which} is"
    return f"{files_are} missing or damaged (first: {files[0]})"


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - making tens of thousands of Paths takes longer than the calls
    except OSError:
        return None
