"""Compare published and measured numbers: one row per published number, as a table, as files and on the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pertharness.contract.cards import RecipeOffer
from pertharness.files.whole import write_text
from pertharness.host.reproduce.measure import BASES, QUANTITIES, Quantity
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
    """With its column or, where the source does not say what it counts, with the basis of this row after a comma."""
    unit: str
    published: float
    measured: float | None
    difference: float | None
    agrees: str
    """``yes`` if the difference is within the tolerance of the published number, else ``no``; ``not measured``; ``other
    basis`` where the number is compared on another basis than that of this row."""
    digits: str
    """To how many of the published significant digits they agree, such as ``5 of 8``; empty for 0 and no number."""
    reason: str
    source: str


HEADER = ("figure", "dataset", "quantity", "published", "measured", "difference", "digits")


def compare(run: RunFiles, numbers: Sequence[Number]) -> list[Row]:
    """Return a row for each published number, with the measured one or the reason why there is none.

    A number whose source does not say what it counts has two rows, one on each basis; it is compared on the first.
    """
    return [row for number in numbers for row in _rows(run, number)]


def _rows(run: RunFiles, number: Number) -> Iterator[Row]:
    """Return the row of a number, or its rows if there are two bases."""
    name = f"{number.quantity} {number.column}".strip()
    if number.quantity not in BASES:
        yield _row(run, number, name, QUANTITIES[number.quantity])
        return
    compared, other = BASES[number.quantity]
    yield _row(run, number, f"{name}, {compared.words}", compared.measure)
    yield _row(run, number, f"{name}, {other.words}", other.measure, is_compared=False)


def _row(run: RunFiles, number: Number, quantity: str, measure: Quantity, *, is_compared: bool = True) -> Row:
    named = number.id, number.figure, number.dataset, quantity, number.unit
    try:
        measured = float(measure(run, number))
    except NotMeasured as error:
        return Row(*named, number.value, None, None, "not measured", "", str(error), number.source)
    difference = measured - number.value
    # The last digits of floats do not matter beside a published tolerance.
    is_within = abs(difference) <= number.tolerance + 1e-12 * abs(number.value)
    agrees = ("yes" if is_within else "no") if is_compared else "other basis"
    digits = agreeing_digits(number.value, measured)
    return Row(*named, number.value, measured, difference, agrees, digits, "", number.source)


def agreeing_digits(published: float, measured: float) -> str:
    """Return to how many significant digits of a published number another one is rounded alike, as ``5 of 8``.

    They agree to n digits if they differ by at most half a unit of the n-th digit. Empty for a published 0, which has
    no significant digit.
    """
    if published == 0:
        return ""
    mantissa, _, exponent = f"{published:.14e}".partition("e")
    n_printed = max(len(mantissa.lstrip("-").replace(".", "").rstrip("0")), 1)
    if published.is_integer():
        n_printed = len(f"{abs(published):.0f}")
    difference = abs(measured - published)
    if difference <= 1e-12 * abs(published):
        return f"{n_printed} of {n_printed}"
    n_agreeing = math.floor(int(exponent) + 1 - math.log10(2 * difference) + 1e-9)  # half a unit counts
    return f"{min(max(n_agreeing, 0), n_printed)} of {n_printed}"


def title_of(offer: RecipeOffer, recipe: str, *, demo: bool, models: str | None = None) -> str:
    """Return the heading of a table, with the models if some were chosen; with the demo, that no number can agree."""
    source = f" (doi {offer.doi})" if offer.doi else ""
    title = f"{offer.summary}{source}, {recipe}: published beside measured{f', models {models}' if models else ''}"
    return f"DEMO, simulated data in place of the article's, so the numbers differ: {title}" if demo else title


def cells(row: Row) -> tuple[str, ...]:
    """Return the cells of `HEADER` for a row, with the unit if there is a number."""
    measured, difference = row.measured, row.difference
    shown = "not measured" if measured is None or difference is None else f"{measured:.7g}{row.unit}"
    digits = "+.0f" if difference is not None and difference.is_integer() else "+.3g"
    moved = "-" if difference is None else f"{difference:{digits}}{row.unit}"
    return row.figure, row.dataset, row.quantity, f"{row.published:.10g}{row.unit}", shown, moved, row.digits or "-"


def note_on_bases(rows: Sequence[Row]) -> str:
    """Return what the two rows of a number mean; empty if none has two."""
    names = list(dict.fromkeys(row.quantity.partition(",")[0] for row in rows if "," in row.quantity))
    if not names:
        return ""
    return (
        f"{', '.join(names)}: the source does not say what is counted; compared are sums over the splits, which is "
        "inferred, and the second row is the other reading"
    )


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
    notes = [note] if (note := note_on_bases(rows)) else []
    write_text(folder / "reproduction.md", "\n".join([*lines, "", *notes, "", *reasons]).rstrip() + "\n")


def _line(parts: Sequence[str]) -> str:
    return f"| {' | '.join(part.replace('|', chr(92) + '|') for part in parts)} |"
