"""Compiled sources that are used only if the source has not changed.

Usually Python goes by size and time of the source, to the second: a file that is edited twice within one, to the same
size, would be run as it was first. With a hash of the source in it, the compiled file is compared with what is there.

Also a script, for interpreters that need not have pertharness: it imports nothing but the standard library.
"""

from __future__ import annotations

import os
import py_compile
import sys
import warnings
from collections.abc import Iterable, Iterator
from importlib.util import MAGIC_NUMBER, source_hash
from pathlib import Path

CHECKED_HASH = 0b11
"""Flags of a compiled file with a hash of its source, which Python compares before it uses the file (PEP 552)."""
HEADER = 16
"""Bytes before the code: magic number, flags and hash."""


def compile_checked(packages: Iterable[Path], *, force: bool = False) -> None:
    """Compile all modules of packages for this interpreter, unless they are compiled already.

    A compiled file of another kind is replaced. Where nothing may be written, all stays as it is; what cannot be
    compiled, Python says when it is imported.

    Parameters
    ----------
    packages
        Folders of packages, and files of modules.
    force
        Compile all of them, whatever lies there.
    """
    with warnings.catch_warnings():  # of the plugin's sources, for whom they are imported
        warnings.simplefilter("ignore")
        for package in packages:
            for source in _sources(package):
                _compile(source, force=force)


def compiled_path(source: Path) -> Path:
    """Return where a worker looks for the compiled file, without any environment variables that change this."""
    return source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"


def is_current(compiled: Path, source: bytes) -> bool:
    """Return whether a compiled file is for this interpreter and is only used for the present source."""
    try:
        with compiled.open("rb") as file:
            header = file.read(HEADER)
    except OSError:
        return False
    return header == MAGIC_NUMBER + CHECKED_HASH.to_bytes(4, "little") + source_hash(source)


def _sources(package: Path) -> Iterator[Path]:
    """Yield the sources of a package, including those in linked folders, which imports follow."""
    if package.is_file():
        yield package
        return
    entered = set()
    for folder, folders, names in os.walk(package, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        if (real := os.path.realpath(folder)) in entered:
            folders.clear()
            continue
        entered.add(real)
        yield from (Path(folder, name) for name in names)


def _compile(source: Path, *, force: bool) -> None:
    if source.suffix != ".py":
        return
    compiled = compiled_path(source)
    try:
        if not force and is_current(compiled, source.read_bytes()):
            return
        compiled.unlink(missing_ok=True)  # also of a source that can no longer be compiled
        py_compile.compile(
            str(source), str(compiled), doraise=True, optimize=0,
            invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH,
        )  # fmt: skip
    except (OSError, py_compile.PyCompileError):
        return


if __name__ == "__main__":
    compile_checked(map(Path, sys.argv[2:]), force=sys.argv[1] == "force")
