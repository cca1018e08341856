"""Compare published and measured numbers: one row per published number, as a table, as files and on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pertharness.contract.cards import RecipeOffer
from pertharness.files.whole import write_text
from pertharness.host.reproduce.measure import measure
from pertharness.host.reproduce.published import Number
from pertharness.host.reproduce.run_files import NotMeasured, RunFiles
from pertharness.host.text.csv_text import as_csv


@dataclass(frozen=True)
class Row:
    """A published number with the measured one, or with the reason why there is none."""

    id: str
    figure: str
    dataset: str
    quantity: str
    unit: str
    published: float
    measured: float | None
    difference: float | None
    agrees: str
    """``yes`` if the difference is within the rounding of the published number, else ``no``; ``not measured``."""
    reason: str
    source: str


HEADER = ("figure", "dataset", "quantity", "published", "measured", "difference")


def compare(run: RunFiles, numbers: Sequence[Number]) -> list[Row]:
    """Return a row for each published number, with the measured one or the reason why there is none."""
    return [_row(run, number) for number in numbers]


def _row(run: RunFiles, number: Number) -> Row:
    named = number.id, number.figure, number.dataset, f"{number.quantity} {number.column}".strip(), number.unit
    try:
        measured = measure(run, number)
    except NotMeasured as error:
        return Row(*named, number.value, None, None, "not measured", str(error), number.source)
    difference = measured - number.value
    # Published numbers are rounded, so the last digits of floats do not matter.
    agrees = "yes" if abs(difference) <= number.tolerance + 1e-12 * abs(number.value) else "no"
    return Row(*named, number.value, measured, difference, agrees, "", number.source)


def title_of(offer: RecipeOffer, recipe: str, *, demo: bool) -> str:
    """Return the heading of a table; with the demo, that the numbers cannot agree."""
    source = f" (doi {offer.doi})" if offer.doi else ""
    title = f"{offer.summary}{source}, {recipe}: published beside measured"
    return f"DEMO, simulated data in place of the article's, so the numbers differ: {title}" if demo else title


def cells(row: Row) -> tuple[str, ...]:
    """Return the cells of `HEADER` for a row, with the unit if there is a number."""
    measured, difference = row.measured, row.difference
    shown = "not measured" if measured is None or difference is None else f"{measured:.7g}{row.unit}"
    digits = "+.0f" if difference is not None and difference.is_integer() else "+.3g"
    moved = "-" if difference is None else f"{difference:{digits}}{row.unit}"
    return row.figure, row.dataset, row.quantity, f"{row.published:.10g}{row.unit}", shown, moved


def not_measured(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the reasons why numbers were not measured, each with the names of these numbers in the table."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        name = f"{row.dataset} {row.quantity}"
        if row.reason and name not in reasons.setdefault(row.reason, []):
            reasons[row.reason].append(name)
    return reasons


def write_rows(rows: Sequence[Row], folder: Path, title: str) -> None:
    """Write ``reproduction.csv``, with all digits, sources and reasons, and ``reproduction.md``."""
    import pandas as pd

    frame = pd.DataFrame([asdict(row) for row in rows], columns=list(Row.__dataclass_fields__))
    write_text(folder / "reproduction.csv", as_csv(frame))
    lines = [f"# {title}", "", _line((*HEADER, "source")), _line(["---"] * (len(HEADER) + 1))]
    lines += [_line((*cells(row), row.source)) for row in rows]
    reasons = [f"- {', '.join(names)} not measured: {reason}" for reason, names in not_measured(rows).items()]
    write_text(folder / "reproduction.md", "\n".join([*lines, "", *reasons]).rstrip() + "\n")


def _line(parts: Sequence[str]) -> str:
    return f"| {' | '.join(part.replace('|', chr(92) + '|') for part in parts)} |"
