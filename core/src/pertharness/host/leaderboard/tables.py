"""The leaderboard as a reader sees it: texts in lines, ready for a terminal, Markdown or HTML.

The texts are plain: no markup and no control characters, whatever a plugin or a file called its things. Escaping is the
business of what shows them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pertharness.contract.cards import MetricOffer
from pertharness.contract.scores import COMMON_GENES
from pertharness.host.leaderboard.badges import PARTIAL_SIGN, SIGN, SUSPECT, TOO_GOOD, split_badges
from pertharness.host.leaderboard.calibrate import DEFINITION, NO_RANGE, own_note
from pertharness.host.leaderboard.settings import ALPHA, DUPLICATE, Comparison, TaskSettings, model_label
from pertharness.host.text.printable import printable

Row = dict[str, Any]
NONE = "-"
TASKS = {
    "double": "held-out doubles",
    "single": "unseen singles",
    "mixed": "held-out singles and doubles",
    "transfer": "transfer to another context",
}
_COUNTED = {"": "prediction", "_perturbations": "perturbation", "_splits": "split"}
_REASON_LENGTH = 600  # A message may hold a traceback.
_LARGE = 1e6
"""From here on a number is shown as a power of ten: a model that diverged must not take the room of all others."""


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
    position: str = NONE
    """Between the reference, 0, and the technical duplicate, 1."""
    badges: tuple[str, ...] = ()
    """What makes a reader look twice, and what the model is by its card: see ``badges``."""
    coverage: str = NONE
    """Share of the genes that it predicts, over all of its answers."""
    isolation: str = ""
    """What its processes were kept from; empty for predictions that were read from a file."""

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
    calibrated: bool = False
    """There are positions, or it is known that there is no range for them."""
    greyed: bool = False
    """The technical duplicate is no better than the reference: shown, and not ranked."""
    whole_splits: bool = False
    """Each split has one value: the score is a mean with its standard error."""
    silent: bool = False
    """No model has a score."""
    partial: bool = False
    """Some model does not predict all genes."""

    @property
    def badged(self) -> bool:
        """Whether some model has a badge."""
        return any(line.badges for line in self.lines)

    @property
    def isolated_differently(self) -> bool:
        """Whether the models were made under more than one kind of isolation."""
        return len({line.isolation for line in self.lines if line.isolation}) > 1


def table_of(fields: Mapping[str, Any]) -> Table:
    """Return the table that `dataclasses.asdict` and JSON made `fields` of."""
    lines = tuple(Line(**{**line, "badges": tuple(line["badges"])}) for line in fields["lines"])
    return Table(**{**fields, "lines": lines, "reasons": tuple(fields["reasons"])})


@dataclass(frozen=True)
class Note:
    """What is to be said of a dataset and task as a whole, or of the whole leaderboard."""

    title: str
    """As that of its tables; empty: of all, shown below them."""
    text: str


def not_scored(skipped: Mapping[tuple[str, str, str], str]) -> list[Note]:
    """Return a note for each dataset, task and scorer that is skipped there."""
    return [
        Note(title_of(dataset, task), shortened(f"not scored: {name}: {reason}", "manifest.json"))
        for (dataset, task, name), reason in sorted(skipped.items())
    ]


def title_of(dataset: str, task: str) -> str:
    """Return the title of what is said of a dataset and task."""
    return clean(f"{dataset}, {TASKS.get(task, task)}")


def clean(text: object) -> str:
    """Return a text on one line, its control characters and the like as visible escapes."""
    return printable(" ".join(str(text).split()))


def shortened(text: object, whole: str = "leaderboard.csv") -> str:
    """Return a message that fits a table; of a long one the beginning, and where the `whole` of it is."""
    line = clean(text)
    if len(line) <= _REASON_LENGTH:
        return line
    return f"{line[:_REASON_LENGTH]}... (cut at {_REASON_LENGTH} characters, the rest is in {whole})"


def table_name(offer: MetricOffer, variant: str) -> str:
    """Return the name of a metric in tables: with its variant, unless that is the first of its offer."""
    return clean(offer.id if variant == offer.variants[0] else f"{offer.id} ({variant})")


def make_tables(
    frame: pd.DataFrame,
    metrics: Mapping[str, MetricOffer],
    settings: Mapping[tuple[str, str], TaskSettings],
    comparison: Comparison,
    costs: pd.DataFrame,
) -> list[Table]:
    """Return the tables of a leaderboard; of each dataset and task the primary metric's first.

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
    """Return the table of one group of rows."""
    first = rows[0]
    usual = first["variant"] == offer.variants[0]
    decimals = _decimals(row["value"] for row in rows)
    rows = sorted(rows, key=lambda row: (math.inf if pd.isna(row["rank"]) else row["rank"], row["set"] != "own"))
    return Table(
        dataset=clean(first["dataset"]),
        task=clean(first["task"]),
        metric=table_name(offer, first["variant"]),
        usual=usual,
        stratum=first["stratum"],
        primary=usual and offer.id == comparison.metric and first["stratum"] == "all",
        title=title_of(first["dataset"], first["task"]),
        sentence=_sentence(rows, offer, task, comparison),
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


def _decimals(values: Iterable[float]) -> int:
    """Return the number of decimals that shows four digits of the largest value, between 2 and 6.

    Values that are shown as powers of ten have no say.
    """
    sizes = (abs(value) for value in values if not pd.isna(value) and value)
    largest = max((size for size in sizes if size < _LARGE), default=1.0)
    return min(6, max(2, 3 - math.floor(math.log10(largest))))


def _number(value: float, form: str) -> str:
    """Return a number in a form, a large one as a power of ten, and where there is none a dash."""
    return NONE if pd.isna(value) else f"{value:.2e}" if abs(value) >= _LARGE else format(value, form)


def _line(row: Row, decimals: int) -> Line:
    """Put one model's numbers into words."""

    def number(name: str, form: str = f".{decimals}f") -> str:
        return _number(row[name], form)

    def interval(low: str, high: str) -> str:
        return "" if pd.isna(row[low]) else f" [{number(low)}, {number(high)}]"

    badges = split_badges(row.get("tells"))
    filled_in = _lacks_genes(row) and row["variant"] != COMMON_GENES
    signs = SIGN * (TOO_GOOD in badges) + PARTIAL_SIGN * filled_in + "*" * (row["set"] == "own")
    around = "" if pd.isna(row["se"]) else f" ± {number('se')}"
    none = row["state"] if row["state"] != "done" else "not scored"
    filled: str = (
        "" if pd.isna(row["filled_value"]) else f" ({row['filled_by_mean']} filled in), rank {row['filled_rank']}"
    )
    return Line(
        model=_marked_name(row, badges),
        plugin=clean(row["plugin"]),
        value=number("value") + signs + around if row["set"] else none,
        score=number("value") + signs + around + interval("low", "high") if row["set"] else none,
        scored=f"{row['scored']}/{row['expected']}",
        rank=number("rank", "d"),
        rank_range=NONE if pd.isna(row["rank_low"]) else f"{row['rank_low']} to {row['rank_high']}",
        time=_time(row["spent"][0]),
        memory=_memory(row["spent"][1]),
        verdict=row["verdict"] or NONE,
        difference=number("difference") + interval("difference_low", "difference_high"),
        p=number("p_holm", ".2g"),
        filled=number("filled_value") + filled,
        test_only=number("value_test_only"),
        seeds=f"{number('sd_split')} / {number('sd_training')}",
        note=shortened(row["note"]),
        position=_number(row.get("position", math.nan), ".2f"),
        badges=badges,
        coverage=_share(row.get("coverage", math.nan)),
        isolation=clean(row.get("isolation", "")),
    )


def _marked_name(row: Row, badges: tuple[str, ...]) -> str:
    """Return the name of a row's model with its signs."""
    looked_at = any(badge in SUSPECT and badge != TOO_GOOD for badge in badges)
    return clean(_label(row)) + ("^" if row["selected_on_scored"] else "") + (SIGN if looked_at else "")


def _lacks_genes(row: Row) -> bool:
    """Return whether a row's model does not predict all genes."""
    return bool(row.get("coverage", math.nan) < 1)


def _share(share: float) -> str:
    """Return a share in percent, rounded down, so that only all of it is 100 %."""
    if pd.isna(share):
        return NONE
    percent = math.floor(1000 * share) / 10
    return f"{percent:g} %" if percent or not share else "<0.1 %"


def _label(row: Row) -> str:
    """Return the label of a row's model."""
    return model_label(row["model"], row["params"])


def _needs_reason(row: Row) -> bool:
    """Return whether a reader will ask why: nothing was scored, not all was, or there is no verdict."""
    silent = row["verdict"] in ("better", "worse") and "genes are not predicted" not in row["note"]
    told = own_note(row["note"]) and not silent and row["set"] != "half"
    return bool(row["state"] != "done" or not row["set"] or told)


def _reasons(rows: list[Row]) -> tuple[str, ...]:
    """Return why models are not done or were not scored; those with the same reason together."""
    models: dict[str, list[str]] = {}
    for row in rows:
        state = f"{row['state']}: " if row["state"] != "done" else "" if row["set"] else "not scored: "
        models.setdefault(state + shortened(own_note(row["note"])), []).append(clean(_label(row)))
    return tuple(f"{', '.join(names)}: {reason}" for reason, names in models.items())


def _time(seconds: float) -> str:
    """Return a time with its unit."""
    if pd.isna(seconds):
        return NONE
    if seconds < 0.1:
        return "<0.1 s"
    size, unit = (1, "s") if seconds < 60 else (60, "min") if seconds < 3600 else (3600, "h")
    return f"{seconds / size:.1f} {unit}"


def _memory(megabytes: float) -> str:
    """Return an amount of memory with its unit."""
    if pd.isna(megabytes):
        return NONE
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


def _sentence(rows: list[Row], offer: MetricOffer, task: TaskSettings, comparison: Comparison) -> str:
    """Return what the numbers of a table are."""
    variant = rows[0]["variant"]
    which = "" if variant == offer.variants[0] else f" (variant {variant})"
    what = f"{offer.id}{which}: {offer.summary.rstrip('.')}" if offer.summary else f"{offer.id}{which}"
    against = f" Verdict: against {task.reference}, at {ALPHA:g} after Holm's correction." if task.reference else ""
    against = "" if offer.level == "task" else against
    over = _averaged(rows, offer, task, comparison) + against + _calibration(rows, task)
    return clean(f"{what}; {offer.direction} is better. {over}")


def _calibration(rows: list[Row], task: TaskSettings) -> str:
    """Return what the positions of a table are, or that it has no range for them."""
    said = {
        "yes": f" Position: 0 is {task.reference}, 1 is {DUPLICATE}, {DEFINITION}; by the scores of all against that "
        "other half (value_half), not those against all cells that are shown.",
        "no": f" Not ranked: {NO_RANGE}.",
    }
    return said.get(rows[0].get("range", ""), "")


def _averaged(rows: list[Row], offer: MetricOffer, task: TaskSettings, comparison: Comparison) -> str:
    """Return what the numbers of a table are means of."""
    common = next((row for row in rows if row["set"] == "common"), None)
    if not common:
        scored = "split" if offer.level == "task" else "prediction"
        return f"The common set is empty: no {scored} was scored for all of its models."
    if offer.level == "task":
        return f"Mean over {_many(common['n_splits'], 'split')} ± its standard error over splits."
    number = [_many(common[f"n{of}"], noun) for of, noun in _COUNTED.items()]
    asked = [_label(row) for row in rows if _label(row) in task.common_set and row["set"] == "common"]
    whose = f"those that {_listed(asked)} answered" if asked else "those that the split holds out"
    over = f"Mean over {number[0]} of {number[1]} in {number[2]}, {whose} (the common set)"
    return f"{over} [{100 * comparison.confidence:g} % interval]."


def _listed(names: list[str]) -> str:
    """Return names as a part of a sentence."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _many(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
