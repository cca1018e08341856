"""What may be asked of uv: a path, an address or a requirement, and no option of uv, pip or git in its place."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement

from pertharness.contract.errors import BuildError

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
"""Of a plugin: a folder and a file are named after it."""
DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
"""Name of a distribution (PEP 508)."""
WANTED = "a folder, a wheel, a requirement, a git address, or a name whose package is pertharness-NAME"
_SCHEMES = ("https", "http", "file", "git+https", "git+http", "git+ssh", "git+file")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def check_asked(asked: str) -> None:
    """Check what a user or a recipe asks to be built, before anything is done with it.

    Raises
    ------
    BuildError
        If it is empty, begins as an option, or holds a line end or another character that is not seen.
    """
    if not asked.strip():
        raise BuildError(f"{asked!r} names no plugin; expected {WANTED}")
    if asked.lstrip().startswith("-"):
        raise BuildError(
            f"{asked!r} begins as an option, which is not taken here; expected {WANTED} (a folder of such a name: "
            f"./{asked.lstrip()}; an index is set in uv's or pip's settings)"
        )
    if _UNSEEN.search(asked):
        raise BuildError(f"{asked!r} holds a line end or a control character; expected {WANTED}, on one line")


def is_address(asked: str) -> bool:
    """Return whether a text is an address and not a path, a name or a requirement."""
    return not re.match(r"[^/:]*@", asked) and ("://" in asked or asked.startswith("git+"))


def check_address(address: str, asked: str) -> None:
    """Check an address of a wheel or of a git repository.

    Raises
    ------
    BuildError
        If its scheme is not one that is fetched, it holds a space, or host or revision begin as an option of git.
    """
    scheme, _, rest = address.partition("://")
    if scheme not in _SCHEMES:
        raise BuildError(f"{asked!r}: expected an address that begins with {'://, '.join(_SCHEMES)}://")
    if re.search(r"\s", address):
        raise BuildError(f"{asked!r}: an address has no space, and no options behind it; leave them out")
    try:
        host = urlsplit(address).hostname or ""
    except ValueError as error:
        raise BuildError(f"{asked!r} is no address: {error}") from None
    revision = rest.partition("#")[0].rpartition("@")[2] if scheme.startswith("git+") and "@" in rest else ""
    for what, text in (("host", host), ("revision", revision)):
        if text.startswith("-"):
            raise BuildError(f"{asked!r}: the {what} {text!r} begins as an option; expected its name")


def check_requirement(asked: str) -> None:
    """Check one requirement, such as ``pertharness-cpa>=1`` or ``pertharness-cpa @ ADDRESS``.

    Raises
    ------
    BuildError
        If it is none, has a condition, or its address is not one that is fetched.
    """
    try:
        requirement = Requirement(asked)
    except InvalidRequirement as error:
        raise BuildError(f"{asked!r} is no requirement: {str(error).splitlines()[0]}; expected {WANTED}") from None
    if requirement.marker is not None:
        raise BuildError(f"{asked!r}: a condition means nothing here; leave out '; {requirement.marker}'")
    if requirement.url is not None:
        check_address(requirement.url, asked)
