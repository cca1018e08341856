"""Write CSV in which free text is never a formula and no character breaks a row.

Labels and numbers are written unchanged, so a perturbation's name may begin with a sign.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

FREE_TEXT = frozenset(
    (
        "comment", "comments", "description", "detail", "details", "error", "errors", "message", "messages", "note",
        "notes", "reason", "reasons", "remark", "remarks", "summary", "traceback", "warning", "warnings",
    )
)  # fmt: skip
"""Names of columns that hold sentences, in the tables of the harness and in those of scorers."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters of a formula in spreadsheets (OWASP, CSV injection)."""
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters except tab and line feed, which are quoted; and surrogates, which UTF-8 cannot encode."""
_SPECIAL = re.compile('[,"\r\n]')


def plain_text(text: str) -> str:
    """Return free text for a cell, with an apostrophe before a formula and spaces for control characters."""
    cleaned = _CONTROL.sub(" ", text.replace("\r\n", "\n"))
    return f"'{cleaned}" if text.startswith(_FORMULA) or cleaned.startswith(_FORMULA) else cleaned


def quote(text: str) -> str:
    """Return a cell of a CSV file, quoted if it has special characters."""
    return '"' + text.replace('"', '""') + '"' if _SPECIAL.search(text) else text


def as_row(cells: Iterable[str]) -> str:
    """Return a row of a CSV file with its line feed; a single empty cell is quoted, as parsers skip empty lines."""
    row = ",".join(map(quote, cells))
    return f"{row}\n" if row else '""\n'


def as_csv(frame: pd.DataFrame) -> str:
    """Return a table as CSV: floats with all digits, missing values empty, free text escaped."""
    texts = {
        name: [plain_text(cell) if isinstance(cell, str) else cell for cell in frame[name]]
        for name in frame.columns
        if name in FREE_TEXT
    }
    return str(frame.assign(**texts).to_csv(index=False, lineterminator="\n"))
