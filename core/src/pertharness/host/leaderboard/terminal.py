"""The leaderboard on a terminal, or in a file where the output goes to one."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Console, OverflowMethod
from rich.table import Table as Grid
from rich.text import Text

from pertharness.host.leaderboard.markdown import LEGEND, by_task, other_metrics
from pertharness.host.leaderboard.tables import Line, Table

_STYLES = {"better": "green", "worse": "red", "reference": "bold"}


def print_leaderboard(tables: Iterable[Table], console: Console) -> None:
    """Print per dataset and task what the numbers are, the primary metric, the others, and who is missing and why.

    Of the other metrics only the usual variant: all of them stand in the files and in the report.
    """
    for full, others in by_task(tables):
        if full is not None:
            _say(console, full.title, "bold")
            _say(console, full.sentence)
            console.print(_full(full))
        elif others:
            _say(console, others[0].title, "bold")
        shown = [table for table in others if table.usual]
        if shown:
            header, rows = other_metrics(shown)
            console.print(_grid(header, [[_text(cell) for cell in row] for row in rows]))
        for reason in full.reasons if full is not None else ():
            _say(console, reason, "yellow")
        console.print()
    _say(console, LEGEND, "dim")


def _say(console: Console, text: str, style: str = "") -> None:
    """Print a text as it is: brackets in it are no markup."""
    console.print(Text(text, style=style), soft_wrap=False)


def _text(cell: str, style: str = "") -> Text:
    """Give a cell that is shown as it is."""
    return Text(cell, style=style)


def _full(table: Table) -> Grid:
    """Give the primary metric's table; it fits 80 columns unless a name is long, which is then folded."""
    header = ["#", "model", f"score [{table.level}]", "scored", "time", "memory", f"vs {table.reference}"]
    return _grid(header, [_cells(line) for line in table.lines])


def _cells(line: Line) -> list[Text]:
    """Give the cells of a model."""
    style = _STYLES.get(line.verdict, "")
    plain = [_text(cell) for cell in (line.score, line.scored, line.time, line.memory)]
    return [_text(line.rank), _text(line.model, style), *plain, _text(line.verdict, style)]


def _grid(header: list[str], rows: list[list[Text]]) -> Grid:
    """Give a grid with room for the model's name and without lines between rows."""
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in header:
        left = name == "model" or name.startswith("vs ")
        # Names fold; a number is never broken, and where there is no room for it, an ellipsis says so.
        how: OverflowMethod = "fold" if left else "ellipsis"
        grid.add_column(
            Text(name, overflow="fold"), justify="left" if left else "right", overflow=how, no_wrap=not left
        )
    for row in rows:
        grid.add_row(*row)
    return grid
