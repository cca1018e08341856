"""The leaderboard as a reader sees it: texts in lines, ready for a terminal, Markdown or HTML.

The texts are plain: no markup and no control characters, whatever a plugin or a file called its things. Escaping is the
business of what shows them.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pertharness.cards import MetricOffer
from pertharness.host.leaderboard.settings import ALPHA, Comparison, TaskSettings, model_label

Row = dict[str, Any]
NONE = "-"
TASKS = {
    "double": "held-out doubles",
    "single": "unseen singles",
    "mixed": "held-out singles and doubles",
    "transfer": "transfer to another context",
}
_COUNTED = {"": "prediction", "_perturbations": "perturbation", "_splits": "split"}
_REASON_LENGTH = 600  # A message may hold a traceback; `show KEY` has all of it.


@dataclass(frozen=True)
class Line:
    """One model of a table."""

    model: str
    plugin: str
    score: str
    """Mean with its interval, or why there is none."""
    value: str
    scored: str
    """Scored / expected."""
    rank: str
    rank_range: str
    time: str
    memory: str
    verdict: str
    difference: str
    p: str
    filled: str
    """Mean over all held-out predictions, with the number filled in; and the rank by it."""
    test_only: str
    seeds: str
    """Standard deviation over split seeds / over training seeds."""
    note: str


@dataclass(frozen=True)
class Table:
    """One dataset, task, metric, variant and stratum."""

    dataset: str
    task: str
    metric: str
    """With its variant, unless that is the first of its offer."""
    usual: bool
    """Of the first variant of its offer: the one that fits a terminal."""
    stratum: str
    primary: bool
    title: str
    sentence: str
    level: str
    """Coverage of the intervals, e.g. ``95 %``."""
    reference: str
    lines: tuple[Line, ...]
    reasons: tuple[str, ...]
    """Why models were not done or not scored."""


def clean(text: object) -> str:
    """Give a text on one line, without control, formatting and surrogate characters."""
    joined = " ".join(str(text).split())
    return "".join(character for character in joined if unicodedata.category(character) not in ("Cc", "Cf", "Cs"))


def make_tables(
    frame: pd.DataFrame,
    metrics: Mapping[str, MetricOffer],
    settings: Mapping[tuple[str, str], TaskSettings],
    comparison: Comparison,
    costs: pd.DataFrame,
) -> list[Table]:
    """Give the tables of a leaderboard; of each dataset and task the primary metric's first.

    Parameters
    ----------
    frame
        From `compare.build_leaderboard`.
    costs
        From `write.summarise_costs`.
    """
    keys = ("dataset", "task", "plugin", "model", "params")
    spent = {row[:5]: row[5:] for row in costs[[*keys, "wall_s", "peak_rss_mb"]].itertuples(index=False, name=None)}
    groups: dict[tuple[str, str, str, str, str], list[Row]] = {}
    for record in frame.to_dict("records"):
        row = {str(name): value for name, value in record.items()}
        row["spent"] = spent.get(tuple(row[key] for key in keys), (math.nan, math.nan))
        groups.setdefault(tuple(row[key] for key in ("dataset", "task", "metric", "variant", "stratum")), []).append(
            row
        )
    tables = [
        _table(rows, metrics[group[2]], settings.get(group[:2], TaskSettings()), comparison)
        for group, rows in groups.items()
    ]
    # Python's sort is stable: what is equal here stays in the order of the frame.
    return sorted(tables, key=lambda table: (table.dataset, table.task, not table.primary, table.stratum != "all"))


def _table(rows: list[Row], offer: MetricOffer, task: TaskSettings, comparison: Comparison) -> Table:
    """Give the table of one group of rows."""
    first = rows[0]
    usual = first["variant"] == offer.variants[0]
    decimals = _decimals(row["value"] for row in rows)
    rows = sorted(rows, key=lambda row: (math.inf if pd.isna(row["rank"]) else row["rank"], row["set"] != "own"))
    return Table(
        dataset=clean(first["dataset"]),
        task=clean(first["task"]),
        metric=clean(offer.id if usual else f"{offer.id} ({first['variant']})"),
        usual=usual,
        stratum=first["stratum"],
        primary=usual and offer.id == comparison.metric and first["stratum"] == "all",
        title=clean(f"{first['dataset']}, {TASKS.get(first['task'], first['task'])}"),
        sentence=_sentence(rows, offer, task, comparison),
        level=f"{100 * comparison.confidence:g} %",
        reference=clean(task.reference),
        lines=tuple(_line(row, decimals) for row in rows),
        reasons=_reasons([row for row in rows if _needs_reason(row)]),
    )


def _decimals(values: Iterable[float]) -> int:
    """Give the number of decimals that shows four digits of the largest value, between 2 and 6."""
    largest = max((abs(value) for value in values if not pd.isna(value) and value), default=1.0)
    return min(6, max(2, 3 - math.floor(math.log10(largest))))


def _line(row: Row, decimals: int) -> Line:
    """Put one model's numbers into words."""

    def number(name: str, form: str = f".{decimals}f") -> str:
        return NONE if pd.isna(row[name]) else format(row[name], form)

    def interval(name: str, low: str, high: str) -> str:
        ends: str = "" if pd.isna(row[low]) else f" [{number(low)}, {number(high)}]"
        return number(name) + ends

    value = number("value") + ("*" if row["set"] == "own" else "")
    none = row["state"] if row["state"] != "done" else "not scored"
    filled: str = (
        "" if pd.isna(row["filled_value"]) else f" ({row['filled_by_mean']} filled in), rank {row['filled_rank']}"
    )
    return Line(
        model=clean(_label(row)) + ("^" if row["selected_on_scored"] else ""),
        plugin=clean(row["plugin"]),
        value=value if row["set"] else none,
        score=value + interval("value", "low", "high")[len(number("value")) :] if row["set"] else none,
        scored=f"{row['scored']}/{row['expected']}",
        rank=number("rank", "d"),
        rank_range=NONE if pd.isna(row["rank_low"]) else f"{row['rank_low']} to {row['rank_high']}",
        time=_time(row["spent"][0]),
        memory=_memory(row["spent"][1]),
        verdict=row["verdict"] or NONE,
        difference=interval("difference", "difference_low", "difference_high"),
        p=number("p_holm", ".2g"),
        filled=number("filled_value") + filled,
        test_only=number("value_test_only"),
        seeds=f"{number('sd_split')} / {number('sd_training')}",
        note=_shortened(row["note"]),
    )


def _label(row: Row) -> str:
    """Give the label of a row's model."""
    return model_label(row["model"], row["params"])


def _shortened(text: object) -> str:
    """Give a message that fits a table."""
    line = clean(text)
    return line if len(line) <= _REASON_LENGTH else line[: _REASON_LENGTH - 3] + "..."


def _needs_reason(row: Row) -> bool:
    """Say whether a reader will ask why: nothing was scored, not all was, or there is no verdict."""
    return row["state"] != "done" or not row["set"] or bool(row["note"] and row["verdict"] not in ("better", "worse"))


def _reasons(rows: list[Row]) -> tuple[str, ...]:
    """Say why models are not done or were not scored; those with the same reason together."""
    models: dict[str, list[str]] = {}
    for row in rows:
        state = row["state"] if row["state"] != "done" else "not scored"
        models.setdefault(f"{state}: {_shortened(row['note'])}", []).append(clean(_label(row)))
    return tuple(f"{', '.join(names)}: {reason}" for reason, names in models.items())


def _time(seconds: float) -> str:
    """Give a time with its unit."""
    if pd.isna(seconds):
        return NONE
    if seconds < 0.1:
        return "<0.1 s"
    size, unit = (1, "s") if seconds < 60 else (60, "min") if seconds < 3600 else (3600, "h")
    return f"{seconds / size:.1f} {unit}"


def _memory(megabytes: float) -> str:
    """Give an amount of memory with its unit."""
    if pd.isna(megabytes):
        return NONE
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


def _sentence(rows: list[Row], offer: MetricOffer, task: TaskSettings, comparison: Comparison) -> str:
    """Say what the numbers of a table are."""
    variant = rows[0]["variant"]
    which = "" if variant == offer.variants[0] else f" (variant {variant})"
    what = f"{offer.id}{which}: {offer.summary.rstrip('.')}" if offer.summary else f"{offer.id}{which}"
    over = "The common set is empty: no prediction was scored for all of its models."
    common = next((row for row in rows if row["set"] == "common"), None)
    if common:
        number = [_many(common[f"n{of}"], noun) for of, noun in _COUNTED.items()]
        asked = [_label(row) for row in rows if _label(row) in task.common_set and row["set"] == "common"]
        whose = f"those that {_listed(asked)} answered" if asked else "those that the split holds out"
        over = f"Mean over {number[0]} of {number[1]} in {number[2]}, {whose} (the common set)"
        over += f" [{100 * comparison.confidence:g} % interval]."
    against = f" Verdict: against {task.reference}, at {ALPHA:g} after Holm's correction." if task.reference else ""
    return clean(f"{what}; {offer.direction} is better. {over}{against}")


def _listed(names: list[str]) -> str:
    """Give names as a part of a sentence."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _many(number: int, noun: str) -> str:
    """Give a number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
