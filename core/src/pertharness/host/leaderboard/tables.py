"""The leaderboard as a reader sees it: texts in lines, ready for a terminal, Markdown or HTML.

The texts are plain: they have no control characters, whatever names a plugin or a file uses. Escaping markup is left to
the code that shows them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pertharness.contract.cards import MetricOffer
from pertharness.contract.scores import COMMON_GENES
from pertharness.host.leaderboard.badges import (
    ORACLE_SIGN,
    OTHERS_SIGN,
    PARTIAL_SIGN,
    SELECTED_SIGN,
    SIGN,
    SUSPECT,
    TOO_GOOD,
    split_badges,
)
from pertharness.host.leaderboard.calibrate import own_note
from pertharness.host.leaderboard.captions import caption
from pertharness.host.leaderboard.comparison import Comparison, TaskSettings, model_label
from pertharness.host.leaderboard.number_text import (
    NONE,
    decimals_for,
    memory_text,
    number_text,
    share_text,
    time_text,
)
from pertharness.host.text.printable import printable

Row = dict[str, Any]
TASKS = {
    "double": "held-out doubles",
    "single": "unseen singles",
    "mixed": "held-out singles and doubles",
    "transfer": "transfer to another context",
}
_REASON_LENGTH = 600  # A message may hold a traceback.


@dataclass(frozen=True)
class Line:
    """One model of a table."""

    model: str
    plugin: str
    score: str
    """Mean with its interval, or the reason why it is missing."""
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
    """Mean over all held-out predictions, the number of filled-in predictions, and the rank by this mean."""
    test_only: str
    seeds: str
    """Standard deviation over split seeds / over training seeds."""
    note: str
    position: str = NONE
    """Between the reference, 0, and the technical duplicate, 1."""
    badges: tuple[str, ...] = ()
    """Badges of the model: see ``badges``."""
    coverage: str = NONE
    """Share of the genes that the model predicts, over all of its answers."""
    isolation: str = ""
    """Isolation of the model's processes; empty for predictions that were read from a file."""
    oracle: bool = False
    """Whether the model is given observed values of held-out cells."""

    @property
    def suspect(self) -> bool:
        """Whether a badge asks for a second look."""
        return any(badge in SUSPECT for badge in self.badges)


@dataclass(frozen=True)
class Table:
    """One dataset, task, metric, variant and stratum."""

    dataset: str
    task: str
    metric: str
    """Metric with its variant, unless that is the first of its offer."""
    usual: bool
    """Whether the table shows the first variant of its offer, which a terminal shows."""
    stratum: str
    primary: bool
    title: str
    sentence: str
    level: str
    """Coverage of the intervals, e.g. ``95 %``."""
    reference: str
    lines: tuple[Line, ...]
    reasons: tuple[str, ...]
    """Reasons why models were not done or not scored."""
    calibrated: bool = False
    """Whether positions are known, or known to have no range."""
    greyed: bool = False
    """Whether the technical duplicate is no better than the reference; such a table is not ranked."""
    whole_splits: bool = False
    """Whether each split has one value, so that the score is a mean with its standard error."""
    silent: bool = False
    """Whether no model has a score."""
    partial: bool = False
    """Whether some model does not predict all genes."""

    @property
    def badged(self) -> bool:
        """Whether some model has a badge."""
        return any(line.badges for line in self.lines)

    @property
    def isolated_differently(self) -> bool:
        """Whether the models were made under more than one kind of isolation."""
        return len({line.isolation for line in self.lines if line.isolation}) > 1


def table_of(fields: Mapping[str, Any]) -> Table:
    """Return a table from its fields, as `dataclasses.asdict` and JSON give them."""
    lines = tuple(Line(**{**line, "badges": tuple(line["badges"])}) for line in fields["lines"])
    return Table(**{**fields, "lines": lines, "reasons": tuple(fields["reasons"])})


@dataclass(frozen=True)
class Note:
    """A remark on a dataset and task, or on the whole leaderboard."""

    title: str
    """Title of its tables; empty for a remark on the leaderboard, which is shown below all tables."""
    text: str


def not_scored(skipped: Mapping[tuple[str, str, str], str]) -> list[Note]:
    """Return a note for each skipped scorer of a dataset and task."""
    return [
        Note(title_of(dataset, task), shortened(f"not scored: {name}: {reason}", "manifest.json"))
        for (dataset, task, name), reason in sorted(skipped.items())
    ]


def title_of(dataset: str, task: str) -> str:
    """Return the title of a dataset and task."""
    return clean(f"{dataset}, {TASKS.get(task, task)}")


def clean(text: object) -> str:
    """Return a text on one line, with control characters as visible escapes."""
    return printable(" ".join(str(text).split()))


def shortened(text: object, whole: str = "leaderboard.csv") -> str:
    """Return a message that fits a table; a long one is cut and names the file with the `whole` text."""
    line = clean(text)
    if len(line) <= _REASON_LENGTH:
        return line
    return f"{line[:_REASON_LENGTH]}... (cut at {_REASON_LENGTH} characters, the rest is in {whole})"


def table_name(offer: MetricOffer, variant: str) -> str:
    """Return the name of a metric in tables, with its variant unless that is the first of its offer."""
    return clean(offer.id if variant == offer.variants[0] else f"{offer.id} ({variant})")


def make_tables(
    frame: pd.DataFrame,
    metrics: Mapping[str, MetricOffer],
    settings: Mapping[tuple[str, str], TaskSettings],
    comparison: Comparison,
    costs: pd.DataFrame,
) -> list[Table]:
    """Return the tables of a leaderboard, for each dataset and task that of the primary metric first.

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
    # Python's sort is stable, so equal tables stay in the order of the frame.
    return sorted(tables, key=lambda table: (table.dataset, table.task, not table.primary, table.stratum != "all"))


def _table(rows: list[Row], offer: MetricOffer, task: TaskSettings, comparison: Comparison) -> Table:
    """Return the table of one group of rows."""
    first = rows[0]
    usual = first["variant"] == offer.variants[0]
    decimals = decimals_for(row["value"] for row in rows)
    rows = sorted(rows, key=lambda row: (math.inf if pd.isna(row["rank"]) else row["rank"], row["set"] != "own"))
    return Table(
        dataset=clean(first["dataset"]),
        task=clean(first["task"]),
        metric=table_name(offer, first["variant"]),
        usual=usual,
        stratum=first["stratum"],
        primary=usual and offer.id == comparison.metric and first["stratum"] == "all",
        title=title_of(first["dataset"], first["task"]),
        sentence=clean(caption(rows, offer, task, comparison)),
        level=f"{100 * comparison.confidence:g} %",
        reference=clean(task.reference),
        lines=tuple(_line(row, decimals) for row in rows),
        reasons=_reasons([row for row in rows if _needs_reason(row)]),
        calibrated=bool(first.get("range")),
        greyed=first.get("range") == "no",
        whole_splits=offer.level == "task",
        silent=not any(row["set"] for row in rows),
        partial=any(_lacks_genes(row) for row in rows),
    )


def _line(row: Row, decimals: int) -> Line:
    """Return one model's numbers as texts."""

    def number(name: str, form: str = f".{decimals}f") -> str:
        return number_text(row[name], form)

    def interval(low: str, high: str) -> str:
        return "" if pd.isna(row[low]) else f" [{number(low)}, {number(high)}]"

    badges = split_badges(row.get("tells"))
    filled_in = _lacks_genes(row) and row["variant"] != COMMON_GENES
    signs = SIGN * (TOO_GOOD in badges) + PARTIAL_SIGN * filled_in + OTHERS_SIGN * (row["set"] == "own")
    around = "" if pd.isna(row["se"]) else f" ± {number('se')}"
    missing = row["state"] if row["state"] != "done" else "not scored"
    filled: str = (
        "" if pd.isna(row["filled_value"]) else f" ({row['filled_by_mean']} filled in), rank {row['filled_rank']}"
    )
    return Line(
        model=_marked_name(row, badges),
        plugin=clean(row["plugin"]),
        value=number("value") + signs + around if row["set"] else missing,
        score=number("value") + signs + around + interval("low", "high") if row["set"] else missing,
        scored=f"{row['scored']}/{row['expected']}",
        rank=number("rank", "d"),
        rank_range=NONE if pd.isna(row["rank_low"]) else f"{row['rank_low']} to {row['rank_high']}",
        time=time_text(row["spent"][0]),
        memory=memory_text(row["spent"][1]),
        verdict=row["verdict"] or NONE,
        difference=number("difference") + interval("difference_low", "difference_high"),
        p=number("p_holm", ".2g"),
        filled=number("filled_value") + filled,
        test_only=number("value_test_only"),
        seeds=f"{number('sd_split')} / {number('sd_training')}",
        note=shortened(row["note"]),
        position=number_text(row.get("position", math.nan), ".2f"),
        badges=badges,
        coverage=share_text(row.get("coverage", math.nan)),
        isolation=clean(row.get("isolation", "")),
        oracle=row.get("oracle") == "yes",
    )


def _marked_name(row: Row, badges: tuple[str, ...]) -> str:
    """Return the name of a row's model, followed by its signs."""
    is_suspect = any(badge in SUSPECT and badge != TOO_GOOD for badge in badges)
    signs = {
        ORACLE_SIGN: row.get("oracle") == "yes", SELECTED_SIGN: bool(row["selected_on_scored"]), SIGN: is_suspect,
    }  # fmt: skip
    return clean(_label(row)) + "".join(sign for sign, is_due in signs.items() if is_due)


def _lacks_genes(row: Row) -> bool:
    """Return whether a row's model does not predict all genes."""
    return bool(row.get("coverage", math.nan) < 1)


def _label(row: Row) -> str:
    """Return the label of a row's model."""
    return model_label(row["model"], row["params"])


def _needs_reason(row: Row) -> bool:
    """Return whether a row needs an explanation: not all was scored, or it has no verdict."""
    silent = row["verdict"] in ("better", "worse") and "genes are not predicted" not in row["note"]
    is_explained = own_note(row["note"]) and not silent and row["set"] != "half"
    return bool(row["state"] != "done" or not row["set"] or is_explained)


def _reasons(rows: list[Row]) -> tuple[str, ...]:
    """Return the reasons why models are not done or not scored, with the models that share each reason."""
    models: dict[str, list[str]] = {}
    for row in rows:
        state = f"{row['state']}: " if row["state"] != "done" else "" if row["set"] else "not scored: "
        models.setdefault(state + shortened(own_note(row["note"])), []).append(clean(_label(row)))
    return tuple(f"{', '.join(names)}: {reason}" for reason, names in models.items())
