"""Write the page of the report from tables and the manifest of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pertharness.files.whole import write_text
from pertharness.host.leaderboard.badges import SUSPECT
from pertharness.host.leaderboard.markdown import footer, legend, more_columns, sections
from pertharness.host.leaderboard.tables import Note, Table
from pertharness.host.text.printable import printable

FILES = (
    "leaderboard.csv",
    "leaderboard.json",
    "leaderboard.md",
    "scores.csv.gz",
    "costs.csv",
    "recipe.toml",
    "manifest.json",
)
"""Files of the run that the page links to, one folder up."""

_LONGEST = 20_000  # Characters; the list of all records of a large run would be most of the page.


def write_report(
    tables: Iterable[Table], manifest: Mapping[str, Any], folder: Path, title: str = "Leaderboard", *,
    notes: Iterable[Note] = (),
) -> None:  # fmt: skip
    """Write ``index.html``: all tables of the leaderboard, the reasons for missing values, and the provenance.

    Parameters
    ----------
    tables
        From `pertharness.host.leaderboard.tables.make_tables`.
    manifest
        Shown as provenance: versions, recipe, dates; any JSON. A very long entry is only named.
    folder
        The folder ``report`` of a run; created if absent.
    notes
        Remarks on datasets, tasks and the leaderboard.
    """
    environment = Environment(
        loader=PackageLoader("pertharness.host.report", "templates"),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown, notes = list(tables), list(notes)
    task_notes = {section.title: section.notes for section in sections(shown, notes)}
    tasks: dict[str, list[Table]] = {title: [] for title in task_notes}
    for table in shown:
        if table.primary or not table.silent:
            tasks.setdefault(table.title, []).append(table)
    page = environment.get_template("index.html").render(
        title=title,
        tasks=tasks,
        task_notes=task_notes,
        provenance=_provenance(manifest),
        legend=legend(shown),
        footer=footer(notes),
        suspect=SUSPECT,
        more_columns=more_columns,
        files=FILES,
        beside=manifest.get("tables", {}),
    )
    write_text(folder / "index.html", page)


def _visible(value: Any) -> Any:
    """Return a value of the page with control characters as visible escapes."""
    return printable(value, newlines=True) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _provenance(manifest: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Return name, text and whether the text has several lines, for each entry of the manifest."""
    shown = []
    for name, value in manifest.items():
        text = value if isinstance(value, str) else json.dumps(value, indent=1, default=str, ensure_ascii=False)
        text = text if len(text) <= _LONGEST else "see manifest.json"
        shown.append((str(name), text, "\n" in text))
    return shown
