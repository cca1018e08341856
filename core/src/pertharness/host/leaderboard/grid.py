"""Tables on a terminal whose columns leave room for names: words are broken before numbers are cut."""

from __future__ import annotations

import operator
from collections.abc import Sequence

from rich import box
from rich.console import OverflowMethod
from rich.table import Table as Grid
from rich.text import Text

NAME_WIDTH = 12
"""Least width of the column of names, or the width they need if that is less, however wide the numbers are."""

Rows = Sequence[Sequence[Text]]


def make_grid(header: Sequence[str], rows: Rows, greyed: Sequence[bool], room: int) -> Grid:
    """Return a grid without lines between rows, with greyed columns dim.

    Parameters
    ----------
    header
        Names of the columns, one of them ``model``.
    rows
        A cell per column.
    greyed
        Whether each column is greyed.
    room
        Width of the screen in columns.
    """
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name, grey, width in zip(header, greyed, _widths(header, rows, room), strict=True):
        words = _is_text(name)
        # Names fold. A number is never broken; one that does not fit is cut with an ellipsis.
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
    """Return the width that all cells share: each cell has a space and a padding beside it."""
    return room - 2 * len(header)


def _is_text(column: str) -> bool:
    """Return whether a column holds words, which may be broken into lines, rather than numbers."""
    return column in ("model", "isolation") or column.startswith("vs ")


def _columns(header: Sequence[str], rows: Rows) -> list[list[Text]]:
    """Return the cells of each column, starting with its name."""
    return [[Text(name), *(row[i] for row in rows)] for i, name in enumerate(header)]


def _natural(header: Sequence[str], rows: Rows) -> list[int]:
    """Return the widths at which no line of a cell is broken."""
    return [max(line.cell_len for cell in column for line in cell.split("\n")) for column in _columns(header, rows)]


def _unbroken(header: Sequence[str], rows: Rows) -> list[int]:
    """Return the widths at which no number and no word is broken, except long names."""
    columns, widths = _columns(header, rows), _natural(header, rows)
    for i, (name, column) in enumerate(zip(header, columns, strict=True)):
        if _is_text(name):
            widths[i] = max(Text(word).cell_len for cell in column for word in cell.plain.split() or [""])
        if name == "model":
            widths[i] = min(widths[i], NAME_WIDTH)
    return widths


def _widths(header: Sequence[str], rows: Rows, room: int) -> list[int]:
    """Return widths that fit: break lines between words first, then words and numbers, the widest column first."""
    widths, unbroken = _natural(header, rows), _unbroken(header, rows)
    least = [width if name == "model" else 1 for name, width in zip(header, unbroken, strict=True)]
    for fewest in (unbroken, least):
        while sum(widths) > _inner(header, room) and any(map(operator.gt, widths, fewest)):
            widest = max((i for i in range(len(widths)) if widths[i] > fewest[i]), key=lambda i: widths[i])
            widths[widest] -= 1
    return widths
