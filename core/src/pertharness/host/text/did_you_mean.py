"""Hints for messages about unknown names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def expected(name: str, choices: Iterable[str]) -> str:
    """Return the closest valid name, if any is close, and all valid names."""
    names = list(choices)
    choices_text = "expected one of " + ", ".join(map(repr, names)) if names else "none is available"
    return " ".join(filter(None, (close_to(name, names), choices_text)))


def close_to(name: str, choices: Iterable[str]) -> str:
    """Return a hint at the closest valid name; empty if none is close."""
    close = difflib.get_close_matches(name, list(choices), n=1)
    return f"did you mean {close[0]!r}?" if close else ""
