"""Check the text that requests a plugin: a path, address or requirement, but no option of uv, pip or git."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement

from pertharness.contract.errors import BuildError

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
"""Name of a plugin, which also names a folder and a file."""
DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
"""Name of a distribution (PEP 508)."""
EXPECTED = "a folder, a wheel, a requirement, a git address, or a name whose package is pertharness-NAME"
_SCHEMES = ("https", "http", "file", "git+https", "git+http", "git+ssh", "git+file")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def check_requested(requested: str) -> None:
    """Check the text by which a user or a recipe requests a plugin, before its use.

    Raises
    ------
    BuildError
        If it is empty, looks like an option, or has a line end or another invisible character.
    """
    if not requested.strip():
        raise BuildError(f"{requested!r} names no plugin; expected {EXPECTED}")
    if requested.lstrip().startswith("-"):
        raise BuildError(
            f"{requested!r} looks like an option, which is not allowed here; expected {EXPECTED} (a folder of such a "
            f"name: ./{requested.lstrip()}; an index is set in uv's or pip's settings)"
        )
    if _UNSEEN.search(requested):
        raise BuildError(f"{requested!r} has a line end or a control character; expected {EXPECTED}, on one line")


def is_address(requested: str) -> bool:
    """Return whether a text is an address, rather than a path, a name or a requirement."""
    return not re.match(r"[^/:]*@", requested) and ("://" in requested or requested.startswith("git+"))


def check_address(address: str, requested: str) -> None:
    """Check an address of a wheel or of a git repository.

    Raises
    ------
    BuildError
        If its scheme is not supported, it has a space, or its host or revision looks like an option of git.
    """
    scheme, _, rest = address.partition("://")
    if scheme not in _SCHEMES:
        raise BuildError(f"{requested!r}: expected an address that begins with {'://, '.join(_SCHEMES)}://")
    if re.search(r"\s", address):
        raise BuildError(f"{requested!r}: an address has no space and no options after it; remove them")
    try:
        host = urlsplit(address).hostname or ""
    except ValueError as error:
        raise BuildError(f"{requested!r} is not an address: {error}") from None
    revision = rest.partition("#")[0].rpartition("@")[2] if scheme.startswith("git+") and "@" in rest else ""
    for part, text in (("host", host), ("revision", revision)):
        if text.startswith("-"):
            raise BuildError(f"{requested!r}: the {part} {text!r} looks like an option; expected its name")


def check_requirement(requested: str) -> None:
    """Check one requirement, such as ``pertharness-cpa>=1`` or ``pertharness-cpa @ ADDRESS``.

    Raises
    ------
    BuildError
        If it is not a requirement, has a marker, or its address is not supported.
    """
    try:
        requirement = Requirement(requested)
    except InvalidRequirement as error:
        raise BuildError(
            f"{requested!r} is not a requirement: {str(error).splitlines()[0]}; expected {EXPECTED}"
        ) from None
    if requirement.marker is not None:
        raise BuildError(f"{requested!r}: a marker is not supported here; remove '; {requirement.marker}'")
    if requirement.url is not None:
        check_address(requirement.url, requested)
