"""The badges of the column ``tells``, and the signs for them where words do not fit."""

from __future__ import annotations

from collections.abc import Iterable

TOO_GOOD, ALIKE, COPIES = "too good", "all alike", "copies training"
CONSTANT, COPIES_BY_DESIGN = "constant by design", "copies by design"
SUSPECT = (TOO_GOOD, ALIKE, COPIES)
"""Badges that call for a second look; the others repeat what the model's card declares."""

SIGN = "!"
"""Follows a score that is too good, and the name of a model with another badge of `SUSPECT`."""
PARTIAL_SIGN = "~"
"""Follows a score of a model that does not predict all genes."""
ORACLE_SIGN = "*"
"""Follows the name of a model that is given observed values of held-out cells."""
SELECTED_SIGN = "^"
"""Follows the name of a model that is selected on data that is scored."""
OTHERS_SIGN = "#"
"""Follows a mean over other predictions than those of the common set: fewer, or, of whole splits, also more."""
_SEPARATOR = "; "


def join_badges(badges: Iterable[str]) -> str:
    """Return a cell of the column ``tells``."""
    return _SEPARATOR.join(badges)


def split_badges(cell: object) -> tuple[str, ...]:
    """Return the badges of a cell of the column ``tells``; none for an empty or absent cell."""
    return tuple(cell.split(_SEPARATOR)) if isinstance(cell, str) and cell else ()
