"""Compiled sources of packages that are installed to be edited, whose folders no job may write."""

from __future__ import annotations

import compileall
import sys
from pathlib import Path

from pertharness.host.execution.sandbox import editable_packages


def compile_editable() -> None:
    """Compile what changed of the editable packages of this interpreter, which jobs would else do one by one."""
    for package in editable_packages(Path(sys.executable)):
        if package.is_dir():
            compileall.compile_dir(package, quiet=2, maxlevels=20)
        else:
            compileall.compile_file(package, quiet=2)
