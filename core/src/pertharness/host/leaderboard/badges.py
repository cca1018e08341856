"""The badges of the column ``tells``, and the signs that stand for them where there is no room for words."""

from __future__ import annotations

from collections.abc import Iterable

TOO_GOOD, ALIKE, COPIES = "too good", "all alike", "copies training"
CONSTANT, COPIES_BY_DESIGN = "constant by design", "copies by design"
SUSPECT = (TOO_GOOD, ALIKE, COPIES)
"""Badges that ask for a second look; the others say what a model is, by its card."""

SIGN = "!"
"""Behind a score that is too good, and behind the name of a model with another badge that asks for a second look."""
PARTIAL_SIGN = "~"
"""Behind a score of a model that does not predict all genes."""
_SEPARATOR = "; "


def join_badges(badges: Iterable[str]) -> str:
    """Return a cell of the column ``tells``."""
    return _SEPARATOR.join(badges)


def split_badges(cell: object) -> tuple[str, ...]:
    """Return the badges of a cell of the column ``tells``, of an empty or absent one none."""
    return tuple(cell.split(_SEPARATOR)) if isinstance(cell, str) and cell else ()
