"""The end of a message about an unknown name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def expected(name: str, known: Iterable[str]) -> str:
    """Return what an unknown name may have been meant to be, and what there is."""
    names = list(known)
    there = "expected one of " + ", ".join(map(repr, names)) if names else "there is none to choose from"
    return " ".join(filter(None, (close_to(name, names), there)))


def close_to(name: str, known: Iterable[str]) -> str:
    """Return what an unknown name may have been meant to be; nothing where no known one is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else ""
