"""A folder with a screen, a store and a run that was carried out from Python, which is the current folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pertharness as ph
from command_bench import screen

FEW = {"models": ["no_change", "additive"], "scorers": "l2", "progress": False}


@dataclass(frozen=True)
class Door:
    """A folder with a screen, a store, and a run on the screen that was carried out from Python."""

    folder: Path
    run: ph.Run

    @property
    def store(self) -> Path:
        return self.folder / "store"


@contextlib.contextmanager
def open_door(folder: Path) -> Iterator[Door]:
    """Carry out a run in a folder, and yield it with the folder as the current one."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        screen().write_h5ad("screen.h5ad")
        yield Door(folder, ph.run(data="screen.h5ad", seeds=[1, 2], store="store", **FEW))
    finally:
        os.chdir(before)
