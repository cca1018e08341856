"""The leaderboard as Markdown (GitHub's flavour)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from pertharness.host.leaderboard.badges import ORACLE_SIGN, OTHERS_SIGN, PARTIAL_SIGN, SELECTED_SIGN, SIGN, SUSPECT
from pertharness.host.leaderboard.number_text import NONE
from pertharness.host.leaderboard.tables import Line, Note, Table
from pertharness.host.text.printable import printable

LEGEND = (
    "scored: predictions with a score / predictions requested. rank: among models that scored the whole common set."
)
_COSTS = " time: median of the jobs. memory: peak of their processes."
_VERDICTS = " better, worse: than the reference, beyond chance; undecided: neither is shown."
_ERRORS = " ±: standard error over splits."
_OTHERS = (
    f" {OTHERS_SIGN}: not ranked, as its mean is over other predictions than the common set: over a part of these or, "
    "where a split has one value, perhaps over more."
)
_ORACLE = (
    f" {ORACLE_SIGN}: was given observed values of the held-out cells, the expression of their target genes, which the "
    "other models have to predict."
)
_SELECTED = f" {SELECTED_SIGN}: selected on data that is scored here."
_GREYED = (
    " Greyed, in italics: not ranked, as one half of the cells predicts the other half no better than the reference "
    "does."
)
_SUSPECT = f" {SIGN}, and {', '.join(SUSPECT)}: see the notes above."
_BY_DESIGN = " by design: all queries answered alike, or with means of the training data, as the model's card declares."
_PARTIAL = (
    f" genes: share of the genes that a model predicts. {PARTIAL_SIGN}: the model does not predict all genes, so its "
    "score is partly that of the values that the metric fills in, mostly the prediction of mean."
)
_ESCAPES = {
    "\\": "\\\\",
    "|": "\\|",
    "`": "\\`",
    "*": "\\*",
    "~": "\\~",
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "](": "]\\(",
}


def legend(tables: Iterable[Table], *, full: bool = True) -> str:
    """Return the meaning of the signs in tables, `full` with costs and whole splits; unused signs are left out."""
    shown = list(tables)
    lines = [line for table in shown for line in table.lines]
    parts = {
        _COSTS: full,
        _VERDICTS: any(line.verdict in ("better", "worse", "undecided") for line in lines),
        _ERRORS: full and any(table.whole_splits and not table.silent for table in shown),
        _OTHERS: any(OTHERS_SIGN in line.value for line in lines), _ORACLE: any(line.oracle for line in lines),
        _SELECTED: any(SELECTED_SIGN in line.model for line in lines),
        _GREYED: any(table.greyed for table in shown), _PARTIAL: any(table.partial for table in shown),
        _SUSPECT: any(line.suspect for table in shown for line in table.lines),
        _BY_DESIGN: any({*line.badges} - {*SUSPECT} for table in shown for line in table.lines),
    }  # fmt: skip
    return LEGEND + "".join(part for part, is_used in parts.items() if is_used)


def footer(notes: Iterable[Note]) -> list[str]:
    """Return the notes on the whole leaderboard."""
    return [note.text for note in notes if not note.title]


def more_columns(table: Table) -> list[tuple[str, Callable[[Line], str]]]:
    """Return header and content of the optional columns of a primary metric's table."""
    columns: list[tuple[str, Callable[[Line], str]]] = []
    if table.partial:
        columns.append(("genes", lambda line: line.coverage))
    if table.isolated_differently:
        columns.append(("isolation", lambda line: line.isolation or NONE))
    return columns


class Section(NamedTuple):
    """The part of the page on one dataset and task, for the stratum of all perturbations."""

    title: str
    full: Table | None
    """The primary metric's table."""
    others: list[Table]
    splits: list[Table]
    """Tables of metrics with one value per split."""
    notes: list[str]
    """Notes, and the metrics for which no model has a value."""


def as_markdown(tables: Iterable[Table], notes: Iterable[Note] = ()) -> str:
    """Return a page: per dataset and task the primary metric in full, then the values of the other metrics."""
    tables, notes = list(tables), list(notes)
    pieces = ["# Leaderboard\n"]
    for section in sections(tables, notes):
        full, title = section.full, _escape(section.title)
        pieces.append(f"## {title}\n")
        if full is not None:
            pieces += [_escape(full.sentence) + "\n", _full(full)]
            pieces += ["".join(f"- {_escape(reason)}\n" for reason in full.reasons)] if full.reasons else []
        if section.others:
            pieces += [f"### {title}: other metrics\n", _others(section.others)]
        if section.splits:
            pieces += [f"### {title}: mean over splits ± standard error\n", _others(section.splits)]
        pieces += ["".join(f"- {_escape(text)}\n" for text in section.notes)] if section.notes else []
    return "\n".join([*pieces, *(_escape(text) + "\n" for text in [legend(tables), *footer(notes)])])


def sections(tables: Iterable[Table], notes: Iterable[Note] = ()) -> list[Section]:
    """Return the sections in the order of the tables; a metric without any value is only named."""
    tasks: dict[str, list[Table]] = {}
    notes_by_title: dict[str, list[str]] = {}
    for table in tables:
        if table.stratum == "all":
            tasks.setdefault(table.title, []).append(table)
    for note in notes:
        if note.title:
            tasks.setdefault(note.title, [])
            notes_by_title.setdefault(note.title, []).append(note.text)
    return [_section(title, group, notes_by_title.get(title, [])) for title, group in tasks.items()]


def _section(title: str, tables: list[Table], notes: list[str]) -> Section:
    """Return the section of a dataset and task from its tables and notes."""
    full = next((table for table in tables if table.primary), None)
    rest = [table for table in tables if table is not full]
    none = {table.metric for table in tables if table.silent}
    # Do not name a variant where the usual variant has no value either.
    implied = tuple(f"{name} (" for name in none)
    silent = [table.metric for table in rest if table.silent and not table.metric.startswith(implied)]
    shown = [table for table in rest if not table.silent]
    without_values = [f"no model has a value: {', '.join(_but_for(name, shown) for name in silent)}"] if silent else []
    splits = [table for table in shown if table.whole_splits]
    return Section(title, full, [table for table in shown if not table.whole_splits], splits, [*notes, *without_values])


def _but_for(metric: str, shown: list[Table]) -> str:
    """Return the name of a metric without values, with its variants that have values."""
    others = [
        table.metric.removeprefix(f"{metric} (")[:-1] for table in shown if table.metric.startswith(f"{metric} (")
    ]
    return metric + (f" (except {', '.join(others)})" if others else "")


def other_metrics(tables: Sequence[Table]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a table of models x metrics, each cell a value with its rank."""
    models = list(dict.fromkeys((line.plugin, line.model) for table in tables for line in table.lines))
    cells = {
        (line.plugin, line.model, table.metric): line.value + (f" ({line.rank})" if line.rank != NONE else "")
        for table in tables
        for line in table.lines
    }
    header = ["model", *(f"{table.metric} (rank)" for table in tables)]
    return header, [
        [model, *(cells.get((plugin, model, table.metric), NONE) for table in tables)] for plugin, model in models
    ]


def _full(table: Table) -> str:
    """Return the primary metric's table."""
    header = [
        "rank",
        "model",
        f"score [{table.level}]",
        "scored",
        "time",
        "memory",
        f"against {table.reference or NONE}",
    ]
    rows = [[x.rank, x.model, x.score, x.scored, x.time, x.memory, x.verdict] for x in table.lines]
    if table.calibrated:
        header.insert(3, "position")
        for row, line in zip(rows, table.lines, strict=True):
            row.insert(3, line.position)
    more = more_columns(table)
    more += [("tells", lambda line: ", ".join(line.badges) or NONE)] if table.badged else []
    header += [name for name, _ in more]
    for row, line in zip(rows, table.lines, strict=True):
        row += [content(line) for _, content in more]
    return _table(header, rows, [table.greyed] * len(header))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], greyed: Sequence[bool]) -> str:
    """Return a Markdown table with greyed columns in italics."""
    body = [
        [f"*{_escape(cell)}*" if grey else _escape(cell) for cell, grey in zip(row, greyed, strict=True)]
        for row in rows
    ]
    lines = [[_escape(cell) for cell in header], ["---"] * len(header), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _others(tables: Sequence[Table]) -> str:
    """Return a table of models x metrics."""
    return _table(*other_metrics(tables), grey_columns(tables))


def grey_columns(tables: Sequence[Table]) -> list[bool]:
    """Return which columns of `other_metrics` are greyed."""
    return [False, *(table.greyed for table in tables)]


def _escape(text: str) -> str:
    """Escape a text so that Markdown shows it as it is, on one line."""
    text = printable(text)
    for special, escaped in _ESCAPES.items():
        text = text.replace(special, escaped)
    return text
