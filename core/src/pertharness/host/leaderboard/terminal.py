"""The leaderboard on a terminal, or in a file to which the output is redirected."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.text import Text

from pertharness.host.leaderboard.badges import SUSPECT
from pertharness.host.leaderboard.grid import fits, make_grid
from pertharness.host.leaderboard.markdown import (
    footer,
    grey_columns,
    legend,
    more_columns,
    other_metrics,
    sections,
)
from pertharness.host.leaderboard.tables import Line, Note, Table
from pertharness.host.text.printable import printable

_STYLES = {"better": "green", "worse": "red", "reference": "bold"}


def print_leaderboard(tables: Iterable[Table], console: Console, notes: Iterable[Note] = ()) -> None:
    """Print the tables of each dataset and task: the primary metric, the others, and the reasons for missing values.

    Print only the usual variant of the other metrics; the files and the report have all variants.
    """
    tables, notes = list(tables), list(notes)
    for section in sections(tables, notes):
        _print(console, section.title, "bold")
        if section.full is not None:
            _print(console, section.full.sentence)
            _print_full(section.full, console)
        for group in (section.others, section.splits):
            for shown in _fitting([table for table in group if table.usual], console.width):
                header, rows = other_metrics(shown)
                cells = [[_text(_spelled(cell, console)) for cell in row] for row in rows]
                console.print(make_grid(header, cells, grey_columns(shown), console.width))
        for reason in (*(section.full.reasons if section.full is not None else ()), *section.notes):
            _print(console, reason, "yellow")
        console.print()
    for text in (legend(tables), *footer(notes)):
        _print(console, text, "dim")


def _fitting(tables: list[Table], width: int) -> Iterator[list[Table]]:
    """Yield groups of tables that fit into one grid of models x metrics, with a third of the width for names."""
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


def _print(console: Console, text: str, style: str = "") -> None:
    """Print a text without reading brackets in it as markup."""
    console.print(Text(_spelled(text, console), style=style), soft_wrap=False)


def _spelled(text: str, console: Console) -> str:
    """Return a text of visible characters, with ``±`` replaced where the terminal is not Unicode."""
    text = printable(text)
    return text if console.encoding.lower().startswith("utf") else text.replace("±", "+-")


def _text(cell: str, style: str = "") -> Text:
    """Return a cell whose text is not read as markup."""
    return Text(cell, style=style)


def _print_full(table: Table, console: Console) -> None:
    """Print the primary metric's table; on a narrow screen without costs and intervals, which the files have.

    The table fits 80 columns; long names are folded.
    """
    more = more_columns(table)
    # Optional columns take the room of the costs.
    costs = [] if table.calibrated else ["time", "memory"][: 2 - len(more)]
    position = ["position"] if table.calibrated else []
    left_out: list[str]
    for left_out in ([], costs, ["interval", *costs]):
        score = "value" if "interval" in left_out else "score"
        columns = [score, "scored", *position, *(name for name in costs if name not in left_out)]
        named = {"score": f"score [{table.level}]", "value": "score"}
        header = ["#", "model", *(named.get(name, name) for name in columns), *(name for name, _ in more)]
        header.append(f"vs {table.reference}")
        contents = [operator.attrgetter(name) for name in columns] + [content for _, content in more]
        rows = [_row(line, [content(line) for content in contents], console) for line in table.lines]
        if fits(header, rows, console.width):
            break
    console.print(make_grid(header, rows, [table.greyed] * len(header), console.width))
    if left_out:
        _print(console, f"Not shown for lack of room: {', '.join(left_out)}; leaderboard.md has the full table", "dim")


def _row(line: Line, contents: list[str], console: Console) -> list[Text]:
    """Return the cells of a model, with its badges on the lines below its name."""
    style = _STYLES.get(line.verdict, "")
    name = _text(_spelled(line.model, console), style)
    for badge in line.badges:
        name.append(f"\n{_spelled(badge, console)}", style="yellow" if badge in SUSPECT else "dim")
    cells = [_text(_spelled(content, console)) for content in contents]
    return [_text(line.rank), name, *cells, _text(line.verdict, style)]
