"""Build the libraries of a plugin that lie in folders beside it: ``[tool.uv.sources]`` of its pyproject.toml."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pertharness.contract.errors import BuildError
from pertharness.contract.protocol import PROJECT
from pertharness.host.environments.pyproject import read_table
from pertharness.host.environments.source import build_wheel
from pertharness.host.environments.uv import Uv
from pertharness.host.environments.wheels import Wheel, normal_name, requirement_name

SOURCES = ("tool", "uv", "sources")
"""The table in which uv reads where a requirement lies: ``mylib = { path = "../mylib" }``."""


def fetch_libraries(folder: Path, uv: Uv, scratch: Path) -> tuple[Wheel, ...]:
    """Return the wheels of a plugin's libraries that lie in folders, and those of their libraries in turn.

    A library is a requirement of the plugin's ``project.dependencies`` for which ``[tool.uv.sources]`` names a path;
    pertharness itself is none. The plugin of an index or a repository has no such folders beside it: its libraries are
    lines of its lock.

    Parameters
    ----------
    folder
        With the plugin's ``pyproject.toml``.
    uv, scratch
        uv, and a folder for the wheels.

    Raises
    ------
    BuildError
        If a path leads to no package, or to one of another name.
    """
    wheels: dict[str, Wheel] = {}
    todo = list(_named(folder))
    while todo:
        name, path = todo.pop(0)
        if name in wheels:
            continue
        wheel = build_wheel(path, uv, scratch, scratch / f"library-{name}")
        if normal_name(wheel.distribution) != name:
            raise BuildError(
                f"{str(path)!r} is the package {wheel.distribution!r}, but [{'.'.join(SOURCES)}] of "
                f"{str(folder / 'pyproject.toml')!r} calls it {name!r}; correct the path"
            )
        wheels[name] = wheel
        todo += _named(path)
    return tuple(wheels[name] for name in sorted(wheels))


def _named(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the normalised name and the folder of each library that a package's ``pyproject.toml`` names."""
    where = folder / "pyproject.toml"
    required = read_table(folder, ("project",)).get("dependencies", [])
    names = {requirement_name(text) for text in required if isinstance(text, str)} - {PROJECT}
    for name, source in read_table(folder, SOURCES).items():
        if normal_name(name) not in names:
            continue
        if isinstance(source, list) and any("path" in entry for entry in source if isinstance(entry, dict)):
            raise BuildError(f"{str(where)!r}: the source of {name!r} is a list; expected one table with path = FOLDER")
        path = source.get("path") if isinstance(source, dict) else None
        if path is None:  # an index or a repository: the lock decides
            continue
        library = (folder / str(path)).absolute()
        if not (library / "pyproject.toml").is_file():
            raise BuildError(
                f"{str(where)!r}: {name!r} has path = {path!r}, but there is no package in {str(library)!r}; build the "
                "plugin in its repository, or name its package instead of the folder"
            )
        yield normal_name(name), library
