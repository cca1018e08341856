"""A run as a notebook shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from pertharness.host.api.run_records import Failure
from pertharness.host.join.memory import read_memory
from pertharness.host.leaderboard.markdown import sections
from pertharness.host.leaderboard.tables import Note, Table, table_of
from pertharness.host.text.printable import printable

MOST_FAILURES = 10
"""That are named; all of them are in `Run.failed`."""


def html_of_run(title: str, folder: Path, failed: Sequence[Failure]) -> str:
    """Return the leaderboards of a run's primary metric below a title, and what failed."""
    memory = read_memory(folder)
    notes = [Note(**note) for note in memory.notes]
    parts = [f"<p><b>{_text(title)}</b></p>"]
    for section in sections([table_of(table) for table in memory.shown], notes):
        parts.append(f"<p><b>{_text(section.title)}</b></p>")
        if section.full is not None:
            parts += [_leaderboard(section.full), *(f"<p>{_text(reason)}</p>" for reason in section.full.reasons)]
    parts += [
        f"<p>{_text(failure.state)}: {_text(failure.title)}: {_text(failure.message.partition(chr(10))[0])}</p>"
        for failure in failed[:MOST_FAILURES]
    ]
    if len(failed) > MOST_FAILURES:
        parts.append(f"<p>{len(failed) - MOST_FAILURES} more in <code>run.failed</code></p>")
    return "".join(parts)


def _leaderboard(table: Table) -> str:
    """Return the table of a task's primary metric."""
    header = ["rank", "model", f"{table.metric} [{table.level}]", "scored", f"against {table.reference}"]
    return html_table(header, [[x.rank, x.model, x.score, x.scored, x.verdict] for x in table.lines])


def html_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of plain texts."""
    head = "".join(f"<th>{_text(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(text: str) -> str:
    """Return a text escaped for HTML."""
    return escape(printable(text))
