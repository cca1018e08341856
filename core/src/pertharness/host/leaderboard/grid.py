"""Tables on a terminal, in columns that leave names their room: words are broken before numbers are cut."""

from __future__ import annotations

import operator
from collections.abc import Sequence

from rich import box
from rich.console import OverflowMethod
from rich.table import Table as Grid
from rich.text import Text

NAME_WIDTH = 12
"""Columns of the screen that names have at least, or as many as they need, however wide the numbers beside them are."""

Rows = Sequence[Sequence[Text]]


def make_grid(header: Sequence[str], rows: Rows, greyed: Sequence[bool], room: int) -> Grid:
    """Return a grid without lines between rows; greyed columns are dim.

    Parameters
    ----------
    header
        Names of the columns, one of them ``model``.
    rows
        A cell per column.
    greyed
        Whether each column is greyed.
    room
        Columns of the screen.
    """
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name, grey, width in zip(header, greyed, _widths(header, rows, room), strict=True):
        words = _is_text(name)
        # Names fold; a number is never broken, and where there is no room for it, an ellipsis says so.
        how: OverflowMethod = "fold" if words else "ellipsis"
        grid.add_column(
            Text(name, overflow="fold"), justify="left" if words else "right", overflow=how, no_wrap=not words,
            style="dim" if grey else "", width=width,
        )  # fmt: skip
    for row in rows:
        grid.add_row(*row)
    return grid


def fits(header: Sequence[str], rows: Rows, room: int) -> bool:
    """Return whether a grid has room for all numbers and whole words; names may be folded to `NAME_WIDTH`."""
    return sum(_unbroken(header, rows)) <= _inner(header, room)


def _inner(header: Sequence[str], room: int) -> int:
    """Return the columns of the screen that cells have together: a space and a padding stand beside each."""
    return room - 2 * len(header)


def _is_text(column: str) -> bool:
    """Return whether a column holds words, which may be broken into lines, and no numbers."""
    return column in ("model", "isolation") or column.startswith("vs ")


def _columns(header: Sequence[str], rows: Rows) -> list[list[Text]]:
    """Return the cells of each column, its name among them."""
    return [[Text(name), *(row[i] for row in rows)] for i, name in enumerate(header)]


def _natural(header: Sequence[str], rows: Rows) -> list[int]:
    """Return the widths at which no line of a cell is broken."""
    return [max(line.cell_len for cell in column for line in cell.split("\n")) for column in _columns(header, rows)]


def _unbroken(header: Sequence[str], rows: Rows) -> list[int]:
    """Return the widths at which no number and no word is broken, but for long names."""
    columns, widths = _columns(header, rows), _natural(header, rows)
    for i, (name, column) in enumerate(zip(header, columns, strict=True)):
        if _is_text(name):
            widths[i] = max(Text(word).cell_len for cell in column for word in cell.plain.split() or [""])
        if name == "model":
            widths[i] = min(widths[i], NAME_WIDTH)
    return widths


def _widths(header: Sequence[str], rows: Rows, room: int) -> list[int]:
    """Return widths that fit: first lines are broken between words, then words and numbers, the widest first."""
    widths, unbroken = _natural(header, rows), _unbroken(header, rows)
    least = [width if name == "model" else 1 for name, width in zip(header, unbroken, strict=True)]
    for fewest in (unbroken, least):
        while sum(widths) > _inner(header, room) and any(map(operator.gt, widths, fewest)):
            widest = max((i for i in range(len(widths)) if widths[i] > fewest[i]), key=lambda i: widths[i])
            widths[widest] -= 1
    return widths
