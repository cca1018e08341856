"""Whether the files of installed packages are what was installed.

uv links files from its cache into every environment: what damages one of them damages all, and the cache as well.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

_UNCHECKED = (".pyc", ".h", ".hpp", ".cuh")
"""Files that Python writes anew, and those that only compilers read, thousands in torch."""


def damaged_packages(packages: Path, besides: Collection[str] = ()) -> dict[str, list[str]]:
    """Return the files that are missing or of another size than when they were installed, by package.

    Sizes alone: sums over the gigabytes of an environment would take longer than most jobs.

    Parameters
    ----------
    packages
        Folder in which packages are installed.
    besides
        Files to pass over.
    """
    found: dict[str, list[str]] = {}
    for record in sorted(packages.glob("*.dist-info/RECORD")):
        for line in record.read_text(encoding="utf-8", errors="replace").splitlines():
            path, _, size = line.rpartition(",")
            path = path.rpartition(",")[0].strip('"')
            unchecked = not size or path.endswith(_UNCHECKED) or path in besides
            if not unchecked and _size(f"{packages}/{path}") != int(size):
                found.setdefault(record.parent.name.split("-")[0], []).append(path)
    return found


def describe_damage(damaged: dict[str, list[str]]) -> str:
    """Return what `damaged_packages` found."""
    name, files = next(iter(damaged.items()))
    n = sum(map(len, damaged.values()))
    which = f"of {name}" if len(damaged) == 1 else f"of {len(damaged)} packages"
    files_are = f"{n} files {which} are" if n > 1 else f"1 file {which} is"
    return f"{files_are} missing or damaged (first: {files[0]})"


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - a Path of each of tens of thousands takes longer than asking
    except OSError:
        return None
