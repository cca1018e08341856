"""The leaderboard on a terminal, or in a file where the output goes to one."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator

from rich import box
from rich.console import Console, OverflowMethod
from rich.table import Table as Grid
from rich.text import Text

from pertharness.host.leaderboard.markdown import grey_columns, legend, other_metrics, sections
from pertharness.host.leaderboard.tables import Line, Note, Table
from pertharness.host.printable import printable

_STYLES = {"better": "green", "worse": "red", "reference": "bold"}
_NAME_WIDTH = 12
"""Columns of the screen that names have at least, or as many as they need, however wide the numbers beside them are."""


def print_leaderboard(tables: Iterable[Table], console: Console, notes: Iterable[Note] = ()) -> None:
    """Print per dataset and task what the numbers are, the primary metric, the others, and who is missing and why.

    Of the other metrics only the usual variant: all of them stand in the files and in the report.
    """
    tables = list(tables)
    for section in sections(tables, notes):
        _say(console, section.title, "bold")
        if section.full is not None:
            _say(console, section.full.sentence)
            console.print(_full(section.full, console.width))
        for group in (section.others, section.splits):
            for shown in _fitting([table for table in group if table.usual], console.width):
                header, rows = other_metrics(shown)
                cells = [[_text(_spelled(cell, console)) for cell in row] for row in rows]
                console.print(_grid(header, cells, grey_columns(shown), console.width))
        for reason in (*(section.full.reasons if section.full is not None else ()), *section.said):
            _say(console, reason, "yellow")
        console.print()
    _say(console, legend(tables), "dim")


def _fitting(tables: list[Table], width: int) -> Iterator[list[Table]]:
    """Yield tables that fit beside each other in a grid of models x metrics, with a third of the width for names."""
    group: list[Table] = []
    used = width // 3
    for table in tables:
        needed = 1 + max([len(f"{table.metric} (rank)"), *(len(f"{x.value} ({x.rank})") for x in table.lines)])
        if group and used + needed > width:
            yield group
            group, used = [], width // 3
        group.append(table)
        used += needed
    if group:
        yield group


def _say(console: Console, text: str, style: str = "") -> None:
    """Print a text as it is: brackets in it are no markup."""
    console.print(Text(_spelled(text, console), style=style), soft_wrap=False)


def _spelled(text: str, console: Console) -> str:
    """Give a text of visible characters, without the one of ours that an old terminal may not have."""
    text = printable(text)
    return text if console.encoding.lower().startswith("utf") else text.replace("±", "+-")


def _text(cell: str, style: str = "") -> Text:
    """Give a cell that is shown as it is."""
    return Text(cell, style=style)


def _full(table: Table, room: int) -> Grid:
    """Give the primary metric's table; it fits 80 columns unless a name is long, which is then folded."""
    # Where there are positions, they have the place of the costs, which stand in the files.
    header = ["#", "model", f"score [{table.level}]", "scored"]
    header += ["position"] if table.calibrated else ["time", "memory"]
    header.append(f"vs {table.reference}")
    rows = [_cells(line, [line.position] if table.calibrated else [line.time, line.memory]) for line in table.lines]
    return _grid(header, rows, [table.greyed] * len(header), room)


def _cells(line: Line, last: list[str]) -> list[Text]:
    """Give the cells of a model."""
    style = _STYLES.get(line.verdict, "")
    plain = [_text(cell) for cell in (line.score, line.scored, *last)]
    return [_text(line.rank), _text(line.model, style), *plain, _text(line.verdict, style)]


def _grid(header: list[str], rows: list[list[Text]], greyed: list[bool], room: int) -> Grid:
    """Give a grid with room for the model's name and without lines between rows; greyed columns are dim."""
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    widths = _widths(header, rows, room - 2 * len(header))  # a space and a padding beside each
    for name, grey, width in zip(header, greyed, widths, strict=True):
        text = _is_text(name)
        # Names fold; a number is never broken, and where there is no room for it, an ellipsis says so.
        how: OverflowMethod = "fold" if text else "ellipsis"
        grid.add_column(
            Text(name, overflow="fold"), justify="left" if text else "right", overflow=how, no_wrap=not text,
            style="dim" if grey else "", width=width,
        )  # fmt: skip
    for row in rows:
        grid.add_row(*row)
    return grid


def _is_text(column: str) -> bool:
    """Say whether a column holds words, which may be broken into lines, and no numbers."""
    return column == "model" or column.startswith("vs ")


def _widths(header: list[str], rows: list[list[Text]], room: int) -> list[int]:
    """Return the widths of columns that fit.

    First words are broken into lines, those of names down to `_NAME_WIDTH`; then numbers are cut, the widest first.
    """
    columns = [[Text(name), *(row[i] for row in rows)] for i, name in enumerate(header)]
    widths = [max(part.cell_len for cell in column for part in cell.split("\n")) for column in columns]
    words = [max(Text(word).cell_len for cell in column for word in cell.plain.split() or [""]) for column in columns]
    names = header.index("model")
    words[names] = min(words[names], _NAME_WIDTH)
    soft = [word if _is_text(name) else width for name, word, width in zip(header, words, widths, strict=True)]
    hard = [words[names] if i == names else 1 for i in range(len(header))]
    for fewest in (soft, hard):
        while sum(widths) > room and any(map(operator.gt, widths, fewest)):
            widest = max((i for i in range(len(widths)) if widths[i] > fewest[i]), key=lambda i: widths[i])
            widths[widest] -= 1
    return widths
