"""Files that a plugin brings in its package, such as recipes, found without importing it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pertharness.contract.errors import PertharnessError
from pertharness.host.packages.fingerprint import plugin_files
from pertharness.host.packages.installed import Plugin


def find_resource(plugin: Plugin, name: str) -> Path:
    """Return the path of a file that a card names by its place in the plugin's package.

    Raises
    ------
    PertharnessError
        If the package has no such file.
    """
    for folder in _package_folders(plugin):
        if (folder / name).is_file():
            return folder / name
    raise PertharnessError(
        f"plugin {plugin.ref.name!r}: its card names {name!r}, but there is no such file in its package "
        f"{plugin.ref.module!r}; install the plugin again, or report this to its authors"
    )


def _package_folders(plugin: Plugin) -> list[Path]:
    """Return the folders of the package that the plugin's module belongs to."""
    parts = plugin.ref.module.split(".")
    files = list(_files(plugin))
    for depth in range(1, len(parts) + 1):  # the first that is no namespace package
        tail = (*parts[:depth], "__init__.py")
        if folders := [path.parent for path in files if path.parts[-len(tail) :] == tail]:
            return folders
    return []


def _files(plugin: Plugin) -> Iterable[Path]:
    """Return the files of the plugin, beside the harness or in its environment."""
    if plugin.sources is not None:
        return plugin.sources.paths
    places = sorted(Path(plugin.folder).glob("lib/python*/site-packages"))
    return [path for files in plugin_files(plugin.ref.module, None, places).values() for path in files]
