"""What differs between two runs, as tables and as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from pertharness.host.api.results import Run
from pertharness.host.leaderboard.comparison import model_label
from pertharness.host.text.printable import printable

if TYPE_CHECKING:
    import pandas as pd

MOST = 20
"""Lines of one kind; the tables of the comparison hold all."""


@dataclass(frozen=True, repr=False)
class RunComparison:
    """What differs between two runs; ``_a`` and ``_b`` in the columns are the first and the second.

    Attributes
    ----------
    a, b
        The runs.
    tasks
        dataset, task, ``comparable``, and where they are not, the ``reason``.
    inputs
        kind (``dataset``, ``split``, ``model``), name, a, b: those that are not the same in both; ``-`` where absent.
    versions
        name, a, b: versions and sources of the harness, of Python and of plugins that are not the same.
    scores
        One row per row of the two leaderboards, with ``difference`` (b - a) where the task is comparable and both are
        means over the same number of values, else NaN.
    """

    a: Run
    b: Run
    tasks: pd.DataFrame
    inputs: pd.DataFrame
    versions: pd.DataFrame
    scores: pd.DataFrame

    @property
    def comparable(self) -> bool:
        """Whether every task that both runs have is the same task."""
        return bool(len(self.tasks)) and bool(self.tasks["comparable"].all())

    @property
    def compared(self) -> pd.DataFrame:
        """The rows that both runs have, of tasks that can be compared."""
        return self.scores[self.scores["comparable"] & self.scores["in_a"] & self.scores["in_b"]]

    @property
    def different_scores(self) -> pd.DataFrame:
        """The rows of `compared` whose value is not the same."""
        rows = self.compared
        return rows[(rows["value_a"] != rows["value_b"]) & ~(rows["value_a"].isna() & rows["value_b"].isna())]

    @property
    def different_verdicts(self) -> pd.DataFrame:
        """The rows of `compared` whose verdict is not the same."""
        rows = self.compared
        return rows[rows["verdict_a"] != rows["verdict_b"]]

    def __repr__(self) -> str:
        return "\n".join(printable(line) for line in _lines(self))

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"


def _lines(comparison: RunComparison) -> Iterator[str]:
    for letter, run in (("A", comparison.a), ("B", comparison.b)):
        manifest = run.manifest
        yield (
            f"{letter}: {run.folder} ({len(manifest['attempts'])} predictions, finished "
            f"{manifest.get('finished', 'unknown')}, pertharness {manifest.get('pertharness', 'unknown')})"
        )
    for row in _rows(comparison.tasks):
        state = "comparable" if row["comparable"] else f"NOT COMPARABLE: {row['reason']}"
        yield f"{row['dataset']} {row['task']}: {state}"
    yield from _block("inputs that differ (A | B)", (
        f"{row['kind']} {row['name']}: {row['a']} | {row['b']}" for row in _rows(comparison.inputs)
    ))  # fmt: skip
    yield from _block("versions that differ (A | B)", (
        f"{row['name']}: {row['a']} | {row['b']}" for row in _rows(comparison.versions)
    ))  # fmt: skip
    n_compared, different = len(comparison.compared), comparison.different_scores
    if n_compared:
        yield f"scores of both: {n_compared}; {n_compared - len(different)} equal, {len(different)} differ"
    overall = different[different["stratum"] == "all"]
    yield from _block("scores that differ (A | B), over all perturbations", map(_score_line, _rows(overall)))
    verdicts = comparison.different_verdicts
    yield from _block("verdicts that differ (A | B), over all perturbations", (
        f"{_place(row)}: {row['verdict_a'] or '-'} | {row['verdict_b'] or '-'}"
        for row in _rows(verdicts[verdicts["stratum"] == "all"])
    ))  # fmt: skip


def _block(title: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield a title and its lines, of many the first; nothing if there are none."""
    listed = list(lines)
    if listed:
        yield f"{title}:"
        yield from (f"  {line}" for line in listed[:MOST])
        if len(listed) > MOST:
            yield f"  ... and {len(listed) - MOST} more"


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = frame.to_dict("records")
    return rows


def _place(row: dict[str, Any]) -> str:
    """Return which row of the leaderboards it is."""
    variant = "" if row["variant"] == "default" else f" ({row['variant']})"
    label = model_label(row["model"], row["params"])
    return f"{row['dataset']} {row['task']}, {label}, {row['metric']}{variant}"


def _score_line(row: dict[str, Any]) -> str:
    """Return the two values of a row, and their difference where they are means over the same number of values."""
    values = " | ".join("-" if row[name] != row[name] else f"{row[name]:.6g}" for name in ("value_a", "value_b"))
    difference = row["difference"]
    if difference == difference:
        return f"{_place(row)}: {values} ({difference:+.3g})"
    return f"{_place(row)}: {values} (means over {row['n_a']:.0f} | {row['n_b']:.0f} values)"
