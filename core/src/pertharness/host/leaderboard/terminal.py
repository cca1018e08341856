"""The leaderboard on a terminal, or in a file to which the output is redirected."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.text import Text

from pertharness.host.leaderboard.badges import SUSPECT
from pertharness.host.leaderboard.grid import fits, make_grid
from pertharness.host.leaderboard.markdown import (
    Section,
    footer,
    grey_columns,
    legend,
    more_columns,
    other_metrics,
    sections,
)
from pertharness.host.leaderboard.number_text import NONE
from pertharness.host.leaderboard.tables import Line, Note, Table
from pertharness.host.text.printable import printable

MOST_OTHERS = 2
"""Metrics beside the primary one on the first screen."""
LONG_NAME = 20
"""A longer name of a model is folded before its slots and parameters."""
_STYLES = {"better": "green", "worse": "red", "reference": "bold"}


def print_leaderboard(
    tables: Iterable[Table], console: Console, notes: Iterable[Note] = (), *, verbose: bool = False
) -> None:
    """Print a table for each dataset and task, and the reasons for missing values.

    A table has the primary metric and at most `MOST_OTHERS` more. With `verbose` it has the costs, its whole caption
    and the meaning of all columns, and all other metrics follow, each in its usual variant; the files and the report
    have all variants.
    """
    tables, notes = list(tables), list(notes)
    for section in sections(tables, notes):
        _print(console, section.title, "bold")
        if section.full is not None:
            _print(console, section.full.sentence if verbose else _short(section.full.sentence))
            if verbose:
                _print_full(section.full, console)
            else:
                _print_first(section, console)
        for group in (section.others, section.splits) if verbose or section.full is None else ():
            for shown in _fitting([table for table in group if table.usual], console.width):
                header, rows = other_metrics(shown)
                cells = [[_text(_spelled(cell, console)) for cell in row] for row in rows]
                console.print(make_grid(header, cells, grey_columns(shown), console.width))
        for reason in (*(section.full.reasons if section.full is not None else ()), *section.notes):
            _print(console, reason, "yellow")
        console.print()
    for text in (legend(tables, full=verbose), *footer(notes)):
        _print(console, text, "dim")


def _short(sentence: str) -> str:
    """Return the beginning of a caption: the metric, and which direction is better."""
    beginning, better, _ = sentence.partition(" is better.")
    return beginning + better


def _print_first(section: Section, console: Console) -> None:
    """Print the primary metric's table with a few other metrics, without what does not fit into the width."""
    table = section.full
    assert table is not None
    others = [other for other in section.others if other.usual][:MOST_OTHERS]
    more, position = more_columns(table), ["position"] if table.calibrated else []
    for n_others, with_interval in [(n, True) for n in range(len(others), -1, -1)] + [(0, False)]:
        shown = [(other.metric, _value_by_model(other)) for other in others[:n_others]]
        score = f"{table.metric} [{table.level}]" if with_interval else table.metric
        header = ["#", "model", score, *(name for name, _ in shown), *position, "scored", *(name for name, _ in more)]
        header.append(f"vs {table.reference}")
        rows = [
            _row(
                line,
                [
                    line.score if with_interval else line.value,
                    *(values.get((line.plugin, line.model), NONE) for _, values in shown),
                    *([line.position] if position else []), line.scored, *(content(line) for _, content in more),
                ],
                console,
            )
            for line in table.lines
        ]  # fmt: skip
        if fits(header, rows, console.width):
            break
    greyed = [table.greyed] * 3 + [other.greyed for other in others[:n_others]]
    greyed += [table.greyed] * (len(header) - len(greyed))
    console.print(make_grid(header, rows, greyed, console.width))


def _value_by_model(table: Table) -> dict[tuple[str, str], str]:
    """Return the value of each model of a table, by plugin and name."""
    return {(line.plugin, line.model): line.value for line in table.lines}


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
    name = _text(_folded(_spelled(line.model, console)), style)
    for badge in line.badges:
        name.append(f"\n{_spelled(badge, console)}", style="yellow" if badge in SUSPECT else "dim")
    cells = [_text(_spelled(content, console)) for content in contents]
    return [_text(line.rank), name, *cells, _text(line.verdict, style)]


def _folded(name: str) -> str:
    """Return the name of a model, its slots and parameters on a line of their own where it is long."""
    return name.replace("[", "\n[", 1) if len(name) > LONG_NAME else name
