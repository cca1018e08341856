"""The leaderboard as Markdown (GitHub's flavour)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pertharness.host.leaderboard.tables import NONE, Table

LEGEND = (
    "scored: predictions with a score / predictions asked for. rank: among models that scored the whole common set. "
    "time: fit and predict, median of the jobs. memory: peak of the process tree. "
    "better, worse: than the reference, beyond chance; undecided: neither is shown. "
    "*: mean over a part of the common set, not ranked. "
    "^: selected on data that is scored here."
)
_ESCAPES = {"\\": "\\\\", "|": "\\|", "`": "\\`", "*": "\\*", "&": "&amp;", "<": "&lt;", ">": "&gt;", "](": "]\\("}


def as_markdown(tables: Iterable[Table]) -> str:
    """Give a page: per dataset and task the primary metric in full, then the values of the other metrics."""
    pieces = ["# Leaderboard\n"]
    for full, others in by_task(tables):
        if full is not None:
            pieces += [f"## {_escape(full.title)}\n", _escape(full.sentence) + "\n", _full(full)]
            pieces += ["".join(f"- {_escape(reason)}\n" for reason in full.reasons)] if full.reasons else []
        if others:
            first = others[0]
            pieces += [f"### {_escape(first.title)}: other metrics\n", _table(*other_metrics(others))]
    return "\n".join([*pieces, _escape(LEGEND) + "\n"])


def by_task(tables: Iterable[Table]) -> list[tuple[Table | None, list[Table]]]:
    """Give per dataset and task the primary table and the others of the stratum that holds all perturbations."""
    tasks: dict[tuple[str, str], list[Table]] = {}
    for table in tables:
        if table.stratum == "all":
            tasks.setdefault((table.dataset, table.task), []).append(table)
    return [
        (next((table for table in group if table.primary), None), [table for table in group if not table.primary])
        for group in tasks.values()
    ]


def other_metrics(tables: Sequence[Table]) -> tuple[list[str], list[list[str]]]:
    """Give header and rows of a table of models x metrics, each cell a value with its rank."""
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
    """Give the primary metric's table."""
    header = [
        "rank",
        "model",
        f"score [{table.level}]",
        "scored",
        "time",
        "memory",
        f"against {table.reference or NONE}",
    ]
    lines = table.lines
    return _table(header, [[x.rank, x.model, x.score, x.scored, x.time, x.memory, x.verdict] for x in lines])


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Give a table."""
    body = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(_escape(cell) for cell in row)} |\n" for row in body)


def _escape(text: str) -> str:
    """Make a text mean itself."""
    for special, escaped in _ESCAPES.items():
        text = text.replace(special, escaped)
    return text
