"""CSV that spreadsheets and parsers read as it is meant: free text is no formula, and no character breaks a row.

Labels and numbers are written as they are: a perturbation's name that begins with a sign is still that name.
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
"""What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection)."""
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters but for tab and line feed, which stand in quotes; and surrogates, which UTF-8 has not."""
_SPECIAL = re.compile('[,"\r\n]')


def plain_text(text: str) -> str:
    """Return free text for a cell: with an apostrophe before what would be a formula, control characters as spaces."""
    cleaned = _CONTROL.sub(" ", text.replace("\r\n", "\n"))
    return f"'{cleaned}" if text.startswith(_FORMULA) or cleaned.startswith(_FORMULA) else cleaned


def quote(text: str) -> str:
    """Return a cell of a CSV file, in quotes where a parser would not read it as it is."""
    return '"' + text.replace('"', '""') + '"' if _SPECIAL.search(text) else text


def as_row(cells: Iterable[str]) -> str:
    """Return a row of a CSV file with its line feed; one empty cell alone stands in quotes, or it would be no row."""
    row = ",".join(map(quote, cells))
    return f"{row}\n" if row else '""\n'


def as_csv(frame: pd.DataFrame) -> str:
    """Return a table as CSV: floats with all their digits, nothing where a value is missing, free text made plain."""
    texts = {
        name: [plain_text(cell) if isinstance(cell, str) else cell for cell in frame[name]]
        for name in frame.columns
        if name in FREE_TEXT
    }
    return str(frame.assign(**texts).to_csv(index=False, lineterminator="\n"))
