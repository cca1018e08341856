"""Compile the sources of plugins and editable packages, because no job may write to their folders."""

from __future__ import annotations

import configparser
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, entry_points
from pathlib import Path

from pertharness.contract.distributions import import_roots
from pertharness.contract.protocol import PROJECT
from pertharness.host.execution import checked_bytecode
from pertharness.host.execution.sandbox import editable_packages

PATIENCE_S = 600.0


def compile_editable(python: Path | None = None, *, force: bool = False) -> None:
    """Compile the changed sources that an interpreter's jobs may run: those of plugins and editable packages.

    Other packages are as their installer left them.

    Parameters
    ----------
    python
        This interpreter by default. Another is started without its packages, so that nothing of a plugin is run.
    force
        Compile all of it, also what seems to be up to date.
    """
    packages = list(dict.fromkeys(_packages(python)))
    if python is None:
        checked_bytecode.compile_checked(packages, force=force)
    elif packages:
        words = ["force" if force else "changed", *map(str, packages)]
        command = [str(python.absolute()), "-I", "-S", checked_bytecode.__file__, *words]
        with contextlib.suppress(OSError, subprocess.SubprocessError):  # its jobs will fail, with the reason
            subprocess.run(
                command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S, check=False
            )  # fmt: skip


def _packages(python: Path | None) -> Iterator[Path]:
    """Yield folders of packages, and files of modules."""
    elsewhere = editable_packages(python or Path(sys.executable))
    installed = [path for path in elsewhere if next(path.glob("*.dist-info"), None) is not None]
    yield from (path for path in elsewhere if path not in installed)
    for owner in _of_this_interpreter() if python is None else _of_another(python, installed):
        yield from import_roots(owner).values()


def _of_this_interpreter() -> Iterator[Distribution]:
    yield from (point.dist for point in entry_points(group=PROJECT) if point.dist is not None)


def _of_another(python: Path, more: list[Path]) -> Iterator[Distribution]:
    """Yield the distributions with plugins in an interpreter's folders of packages, and in `more` of them."""
    for site in [*python.absolute().parents[1].glob("lib*/python3*/site-packages"), *more]:
        for path in site.glob("*.dist-info/entry_points.txt"):
            points = configparser.ConfigParser(delimiters=("=",), strict=False, interpolation=None)
            try:
                points.read_string(path.read_text(encoding="utf-8"))
            except (OSError, ValueError, configparser.Error):
                continue
            if points.has_section(PROJECT):
                yield Distribution.at(path.parent)
