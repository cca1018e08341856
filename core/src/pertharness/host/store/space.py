"""Measure the disk space of a store, without following links."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pertharness.contract.stages import MODEL
from pertharness.files.trees import walk
from pertharness.host.store.hashes import FILE_NAME
from pertharness.host.store.marker import MARKER
from pertharness.host.store.records import STAGES, Store

CACHES = ("joins", "caches")
"""Folders whose content can be made again at any time."""
OF_A_JOB = re.compile(r"([0-9a-f]{64})(?:\..+)?")
"""An entry of ``work``: the folder of an unfinished job, or a file that belongs to it."""


@dataclass
class Space:
    """Number of entries and bytes of one kind."""

    name: str
    number: int = 0
    n_bytes: int = 0


@dataclass
class Measure:
    """Adds up file sizes, counting hard links to one file once."""

    _seen: set[tuple[int, int]] = field(default_factory=set)

    def size(self, path: Path) -> int:
        """Return the bytes of a file, or of all files in a folder; 0 if it is gone or cannot be read."""
        try:
            facts = path.lstat()
            if not stat.S_ISDIR(facts.st_mode):
                return self._add(facts)
            return sum(self._add(entry.facts) for entry in walk(path) if not entry.is_folder)
        except OSError:
            return 0

    def _add(self, facts: os.stat_result) -> int:
        if facts.st_nlink > 1:
            if (facts.st_dev, facts.st_ino) in self._seen:
                return 0
            self._seen.add((facts.st_dev, facts.st_ino))
        return facts.st_size


def entries(folder: Path) -> Iterator[Path]:
    """Yield the entries of a folder, by name; none if it is absent or a link."""
    if folder.is_symlink() or not folder.is_dir():
        return
    with os.scandir(folder) as folders:
        names = sorted(each.name for each in folders)
    yield from (folder / name for name in names)


def unfinished(store: Store) -> Iterator[tuple[str, Path]]:
    """Yield key and path of each unfinished job's entries in ``work``, those of running jobs too."""
    for path in entries(store.root / "work"):
        match = OF_A_JOB.fullmatch(path.name)
        if match and path.suffix != ".lock":
            yield match[1], path


def take_stock(store: Store) -> list[Space]:
    """Return the space of records by stage, unfinished work, caches, and the rest of a store."""
    measure = Measure()
    rows = []
    for stage in STAGES:
        paths = list(entries(store.root / stage))
        rows.append(Space(stage, len(paths), sum(map(measure.size, paths))))
    remaining = [path for _, path in unfinished(store)]
    rows.append(Space("unfinished", len(remaining), sum(map(measure.size, remaining))))
    caches = [path for name in CACHES for path in entries(store.root / name)]
    caches += [path for path in (store.root / FILE_NAME,) if path.exists()]
    rows.append(Space("caches", len(caches), sum(map(measure.size, caches))))
    known_names = {*STAGES, *CACHES, FILE_NAME, MARKER, "work"}
    others = [path for path in entries(store.root) if path.name not in known_names]
    rows.append(Space("other", len(others), sum(map(measure.size, others))))
    return [row for row in rows if row.number or row.name in STAGES]


def kept_models(store: Store) -> Space:
    """Return the space of the fitted models that predictions keep: a part of that of the predictions."""
    measure = Measure()
    paths = [path / MODEL for path in entries(store.root / "predictions") if (path / MODEL).exists()]
    return Space("models", len(paths), sum(map(measure.size, paths)))
