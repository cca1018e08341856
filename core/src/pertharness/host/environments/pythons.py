"""Which versions of Python a ``requires-python`` takes."""

from __future__ import annotations

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from pertharness.contract.errors import BuildError

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
"""Tried in turn where a plugin is for another Python than the one that runs this."""
_MINORS = _PATCHES = range(100)


def takes(requires: str, version: str) -> bool:
    """Return whether a range takes a version, or any patch of one such as ``3.10``."""
    wanted = SpecifierSet(requires)
    patches = [version] if version.count(".") > 1 else [f"{version}.{patch}" for patch in _PATCHES]
    return any(wanted.contains(one, prereleases=True) for one in patches)


def both(plugin: object, harness: str, where: str) -> str:
    """Return the versions that a plugin and the harness take, as one range.

    Parameters
    ----------
    plugin, harness
        ``requires-python`` of each; empty for every version.
    where
        What the first stands in, for messages.

    Raises
    ------
    BuildError
        If the first is no range, or no version is in both.
    """
    try:
        if not isinstance(plugin, str):
            raise InvalidSpecifier
        SpecifierSet(plugin)
    except InvalidSpecifier:
        raise BuildError(
            f"{where}: requires-python {plugin!r} is no range of versions; expected one such as '>=3.10,<3.11'"
        ) from None
    common = ",".join(text for text in (plugin, harness) if text)
    if not any(takes(common, f"3.{minor}") for minor in _MINORS):
        raise BuildError(
            f"{where}: requires-python {plugin!r}, but pertharness, which runs in the same environment, requires "
            f"{harness!r}: no Python is both; take a version of the plugin for such a Python, or ask its authors"
        )
    return common
