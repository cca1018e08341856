"""The leaderboard on a terminal, or in a file where the output goes to one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich import box
from rich.console import Console, OverflowMethod
from rich.table import Table as Grid
from rich.text import Text

from pertharness.host.leaderboard.markdown import grey_columns, legend, other_metrics, sections
from pertharness.host.leaderboard.tables import Line, Note, Table

_STYLES = {"better": "green", "worse": "red", "reference": "bold"}


def print_leaderboard(tables: Iterable[Table], console: Console, notes: Iterable[Note] = ()) -> None:
    """Print per dataset and task what the numbers are, the primary metric, the others, and who is missing and why.

    Of the other metrics only the usual variant: all of them stand in the files and in the report.
    """
    tables = list(tables)
    for section in sections(tables, notes):
        _say(console, section.title, "bold")
        if section.full is not None:
            _say(console, section.full.sentence)
            console.print(_full(section.full))
        for group in (section.others, section.splits):
            for shown in _fitting([table for table in group if table.usual], console.width):
                header, rows = other_metrics(shown)
                cells = [[_text(_spelled(cell, console)) for cell in row] for row in rows]
                console.print(_grid(header, cells, grey_columns(shown)))
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
    """Give a text without the one character of ours that an old terminal may not have."""
    return text if console.encoding.lower().startswith("utf") else text.replace("±", "+-")


def _text(cell: str, style: str = "") -> Text:
    """Give a cell that is shown as it is."""
    return Text(cell, style=style)


def _full(table: Table) -> Grid:
    """Give the primary metric's table; it fits 80 columns unless a name is long, which is then folded."""
    # Where there are positions, they have the place of the costs, which stand in the files.
    header = ["#", "model", f"score [{table.level}]", "scored"]
    header += ["position"] if table.calibrated else ["time", "memory"]
    header.append(f"vs {table.reference}")
    rows = [_cells(line, [line.position] if table.calibrated else [line.time, line.memory]) for line in table.lines]
    return _grid(header, rows, [table.greyed] * len(header))


def _cells(line: Line, last: list[str]) -> list[Text]:
    """Give the cells of a model."""
    style = _STYLES.get(line.verdict, "")
    plain = [_text(cell) for cell in (line.score, line.scored, *last)]
    return [_text(line.rank), _text(line.model, style), *plain, _text(line.verdict, style)]


def _grid(header: list[str], rows: list[list[Text]], greyed: list[bool]) -> Grid:
    """Give a grid with room for the model's name and without lines between rows; greyed columns are dim."""
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name, grey in zip(header, greyed, strict=True):
        left = name == "model" or name.startswith("vs ")
        # Names fold; a number is never broken, and where there is no room for it, an ellipsis says so.
        how: OverflowMethod = "fold" if left else "ellipsis"
        grid.add_column(
            Text(name, overflow="fold"), justify="left" if left else "right", overflow=how, no_wrap=not left,
            style="dim" if grey else "",
        )  # fmt: skip
    for row in rows:
        grid.add_row(*row)
    return grid
