"""Find the line of a key in a TOML text, which Python's reader does not report."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any

try:
    toml: Any = import_module("tomllib")
except ModuleNotFoundError:  # Python 3.10; remove with its support
    toml = import_module("tomli")

Location = tuple["str | int", ...]
"""Path of a value: keys, and positions in arrays."""

_PART = r"""(?:"(?:\\.|[^"\\\n])*"|'[^'\n]*'|[A-Za-z0-9_-]+)"""
_KEY = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_STATEMENT = re.compile(rf"\s*(?:(?P<open>\[\[?)[ \t]*(?P<table>{_KEY})[ \t]*\]\]?|(?P<key>{_KEY})[ \t]*=)")
# Tokens of a value: strings of four kinds and comments, which hide brackets and line ends, or one character.
# A multi-line string may end in up to two quotes of its own.
_TOKEN = re.compile(
    r'''"""(?:\\.|[^\\])*?"""(?:"{0,2})|\'\'\'.*?\'\'\'(?:'{0,2})|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|\#[^\n]*|.''', re.DOTALL
)


def key_lines(text: str) -> dict[Location, int]:
    """Return the line, from 1, of each table and key of a valid TOML text; inline values have the line of their key."""
    lines: dict[Location, int] = {}
    counts: dict[Location, int] = {}
    table: Location = ()
    position = 0
    while position < len(text):
        match = _STATEMENT.match(text, position)
        if match:
            line = text.count("\n", 0, match.start("table" if match["table"] else "key")) + 1
            written = _key_parts(match["table"] or match["key"])
            if match["table"]:
                location = table = _enter(written, counts, is_array=match["open"] == "[[")
            else:
                location = table + written
            for length in range(1, len(location) + 1):
                lines.setdefault(location[:length], line)
            position = match.end()
        position = _statement_end(text, position)
    return lines


def line_of(location: Location, lines: Mapping[Location, int]) -> int:
    """Return the line of a value, or of the nearest enclosing key or table with a line."""
    for length in range(len(location), 0, -1):
        if location[:length] in lines:
            return lines[location[:length]]
    return 1


def _key_parts(written: str) -> Location:
    """Return the parts of a dotted key without quotes."""
    parts: list[str | int] = []
    inner = toml.loads(f"{written} = 0")
    while isinstance(inner, dict):
        ((part, inner),) = inner.items()
        parts.append(part)
    return tuple(parts)


def _enter(written: Location, counts: dict[Location, int], *, is_array: bool) -> Location:
    """Return the location of a table's header, inside the last element of each enclosing array of tables."""
    location: Location = ()
    for part in written[:-1]:
        location = (*location, part)
        if location in counts:
            location = (*location, counts[location] - 1)
    location = (*location, written[-1])
    if is_array:
        counts[location] = counts.get(location, 0) + 1
        location = (*location, counts[location] - 1)
    return location


def _statement_end(text: str, position: int) -> int:
    """Return where the next statement may begin: after the first line end outside brackets."""
    depth = 0
    for match in _TOKEN.finditer(text, position):
        token = match.group()
        depth += (token in "[{") - (token in "]}")
        if token == "\n" and depth <= 0:
            return match.end()
    return len(text)
