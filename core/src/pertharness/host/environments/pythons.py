"""Compare versions of Python with a ``requires-python``."""

from __future__ import annotations

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from pertharness.contract.errors import BuildError

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
"""Versions to try in turn for a plugin that does not support the running Python."""
_MINORS = _PATCHES = range(100)


def takes(requires: str, version: str) -> bool:
    """Return whether a range contains a version, or any patch version of one such as ``3.10``."""
    specifiers = SpecifierSet(requires)
    patches = [version] if version.count(".") > 1 else [f"{version}.{patch}" for patch in _PATCHES]
    return any(specifiers.contains(patch_version, prereleases=True) for patch_version in patches)


def both(plugin: object, harness: str, where: str) -> str:
    """Return the range of versions that both a plugin and the harness support.

    Parameters
    ----------
    plugin, harness
        ``requires-python`` of each; empty for all versions.
    where
        The source of the first, for messages.

    Raises
    ------
    BuildError
        If the first is not a range, or no version is in both.
    """
    try:
        if not isinstance(plugin, str):
            raise InvalidSpecifier
        SpecifierSet(plugin)
    except InvalidSpecifier:
        raise BuildError(
            f"{where}: requires-python {plugin!r} is not a range of versions; expected one such as '>=3.10,<3.11'"
        ) from None
    common = ",".join(text for text in (plugin, harness) if text)
    if not any(takes(common, f"3.{minor}") for minor in _MINORS):
        raise BuildError(
            f"{where}: requires-python {plugin!r}, but pertharness, which runs in the same environment, requires "
            f"{harness!r}: no Python meets both; use a version of the plugin that does, or ask its authors"
        )
    return common
