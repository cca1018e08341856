"""Read tables of a plugin's pyproject.toml, checking their form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pertharness.contract.errors import BuildError
from pertharness.contract.protocol import PROJECT
from pertharness.host.recipe.position import toml

POINTS = ("project", "entry-points", PROJECT)
"""The table whose keys are names of plugins, and whose values are their modules."""


def read_table(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return a table of a folder's ``pyproject.toml``; an empty one if it is absent.

    Raises
    ------
    BuildError
        If the file cannot be read, or the key is not a table.
    """
    file = path / "pyproject.toml"
    try:
        content: Any = toml.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BuildError(f"{str(file)!r} cannot be read: {error}") from None
    for depth, key in enumerate(keys, 1):
        content = content.get(key, {})
        if not isinstance(content, dict):
            name = ".".join(keys[:depth])
            raise BuildError(f"{str(file)!r}: {name} is {content!r}; expected a table, [{name}]")
    table: dict[str, Any] = content
    return table


def names_plugin(path: Path, name: str) -> bool:
    """Return whether a folder has the source of the plugin of a name."""
    return (path / "pyproject.toml").is_file() and name in read_table(path, POINTS)
