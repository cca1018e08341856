"""What a plugin's pyproject.toml says, read without trusting its form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pertharness.contract.errors import BuildError
from pertharness.contract.protocol import PROJECT
from pertharness.host.recipe.position import toml

POINTS = ("project", "entry-points", PROJECT)
"""The table whose keys are names of plugins, and whose values are their modules."""


def read_table(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return a table of a folder's ``pyproject.toml``; an empty one where it does not stand there.

    Raises
    ------
    BuildError
        If the file cannot be read, or holds something else in the table's place.
    """
    file = path / "pyproject.toml"
    try:
        found: Any = toml.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BuildError(f"{str(file)!r} cannot be read: {error}") from None
    for depth, key in enumerate(keys, 1):
        found = found.get(key, {})
        if not isinstance(found, dict):
            name = ".".join(keys[:depth])
            raise BuildError(f"{str(file)!r}: {name} is {found!r}; expected a table, [{name}]")
    table: dict[str, Any] = found
    return table


def names_plugin(path: Path, name: str) -> bool:
    """Return whether a folder holds the source of a plugin of this name."""
    return (path / "pyproject.toml").is_file() and name in read_table(path, POINTS)
