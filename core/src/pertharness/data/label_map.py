"""Read and write label maps: a CSV in which a user gives the targets of each label of a file."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from pertharness.contract.errors import DataError
from pertharness.contract.labels import CONTROL, SEPARATOR, join_targets

DROP = "drop"
"""Value of ``targets`` for a label whose rows are left out."""
COLUMNS = ("label", "targets")
"""Required columns; others, such as those of a draft, are ignored."""
_DELIMITERS = (",", ";", "\t")  # spreadsheets use the list separator of the system's language


def clean_text(text: str) -> str:
    """Return a text stripped of white space, including no-break and zero-width spaces."""
    return text.strip(" \t\r\n\f\v\u00a0\u1680\u2007\u202f\u200b\u200c\u200d\u2060\ufeff").strip()


def read_label_map(path: Path) -> dict[str, str]:
    """Read a label map: label -> targets joined by ``+``, ``control`` or ``drop``.

    Raises
    ------
    DataError
        If the file cannot be read or lacks a column, or if a line has no targets, has invalid targets, or contradicts
        another line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"the label map {str(path)!r} cannot be read: {reason}; expected a CSV in UTF-8") from error
    header = lines[0] if lines else ""
    delimiter = max(_DELIMITERS, key=header.count)
    rows = csv.DictReader(lines, delimiter=delimiter)
    rows.fieldnames = [clean_text(name).lower() for name in rows.fieldnames or ()]
    if missing := [column for column in COLUMNS if column not in rows.fieldnames]:
        raise DataError(
            f"the label map {str(path)!r} has no column {missing[0]!r} (it has {list(rows.fieldnames)}); expected the "
            "columns 'label' and 'targets': pertharness data labels FILE.h5ad --out MAP.csv writes a draft"
        )
    meanings: dict[str, str] = {}
    for row in rows:
        if not any(row.get(column) for column in COLUMNS):
            continue  # a blank line
        label, targets = (clean_text(row[column] or "") for column in COLUMNS)
        add_reading(meanings, label, targets, f"the label map {str(path)!r}, line {rows.line_num}")
    return meanings


def check_label_map(label_map: Mapping[str, str]) -> dict[str, str]:
    """Return a label map that was passed as a mapping, checked and normalised as by `read_label_map`."""
    meanings: dict[str, str] = {}
    for label, targets in label_map.items():
        add_reading(meanings, clean_text(str(label)), clean_text(str(targets)), "the label map")
    return meanings


def add_reading(meanings: dict[str, str], label: str, targets: str, where: str) -> None:
    """Add one line of a map to `meanings`, in the canonical form.

    Raises
    ------
    DataError
        If the targets are missing or invalid, or if the label already has another meaning.
    """
    if not targets:
        raise DataError(
            f"{where}: no targets for {label!r}; expected genes joined by {SEPARATOR!r}, {CONTROL!r} or {DROP!r}"
        )
    meaning = targets.lower()
    if meaning not in (CONTROL, DROP):
        try:
            meaning = join_targets({clean_text(target) for target in targets.split(SEPARATOR)})
        except DataError as error:
            raise DataError(f"{where}: the targets of {label!r} are {targets!r}: {error}") from error
    if meanings.setdefault(label, meaning) != meaning:
        raise DataError(
            f"{where}: duplicate label {label!r}, with the targets {meanings[label]!r} and {meaning!r}; keep one "
            "of the lines"
        )


def write_label_map(rows: Iterable[tuple[str, str, int, str]], path: Path) -> None:
    """Write rows of label, targets, number of rows, and how the label was read."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, "rows", "reading"])
        writer.writerows(rows)
