"""Tables beside the scores, joined over models and splits by the rules of their cards.

The tables of records may be large: they are read one at a time, as text, and written as they are read. So a number has
the digits that its scorer wrote, and only what is kept of one model is held in memory.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from pertharness.contract.cards import TableOffer
from pertharness.contract.scores import TABLE_COLUMNS
from pertharness.files.whole import canonical_json, replacing, sha256_text
from pertharness.host.text.csv_text import FREE_TEXT, as_row, plain_text

VERSION = 1
"""Of the rules by which tables are joined: raised where their meaning changes, so that no older part is kept."""


class Piece(NamedTuple):
    """The table of one record, and whose it is; in the order of these fields tables are joined."""

    dataset: str
    task: str
    plugin: str
    model: str
    params: str
    training_seed: int
    split: str
    seed: int
    path: Path
    sha256: str


class Part(NamedTuple):
    """The rows of one model, or of one dataset, in a joined table: where they stand, and what they were made of."""

    key: str
    """sha256 over the rule, the columns and the content of the records' tables."""
    start: int
    """In bytes from the beginning of the file."""
    length: int
    n_rows: int


class Rows(NamedTuple):
    """Rows as text."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def ordered(self, columns: Sequence[str]) -> Iterable[tuple[str, ...]]:
        """Return the rows with these columns, in this order; empty cells where one is not there."""
        place = {name: position for position, name in enumerate(self.columns)}
        at = [place.get(name, len(self.columns)) for name in columns]
        if len(self.columns) not in at:
            return (tuple([row[position] for position in at]) for row in self.rows)
        return (tuple([(*row, "")[position] for position in at]) for row in self.rows)


def join_table(offer: TableOffer, pieces: Iterable[Piece], path: Path, earlier: Iterable[Part] = ()) -> list[Part]:
    """Write the tables of records as one, whole or not at all, and return its parts.

    Parameters
    ----------
    offer
        What the card says: tables of the level ``dataset`` are held once per dataset and task; with `largest`, of the
        rows of a model's splits together only the largest are kept, in descending order, ties as they come; with
        `count`, these are counted.
    pieces
        In any order.
    path
        Where to write it.
    earlier
        The parts of the file that is there, which must be as it was written: a part that would be made of the same
        tables by the same rule is copied.
    """
    ordered = sorted(pieces)
    columns = _columns(offer, ordered)
    known = {part.key: part for part in earlier}
    parts = []
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(as_row(columns).encode())
        for group in _groups(offer, ordered):
            key, start = _key(offer, columns, group), file.tell()
            if key in known:
                n_rows = known[key].n_rows
                file.write(_read_part(path, known[key]))
            else:
                n_rows = _write_rows(_joined(offer, group), columns, file)
            parts.append(Part(key, start, file.tell() - start, n_rows))
    return parts


def _read_part(path: Path, part: Part) -> bytes:
    with path.open("rb") as file:
        file.seek(part.start)
        return file.read(part.length)


def _key(offer: TableOffer, columns: Sequence[str], group: Sequence[Piece]) -> str:
    """Return what a part depends on: all of it by content."""
    rule = {"version": VERSION, "level": offer.level, "largest": offer.largest, "count": offer.count}
    whose = [[field for field in piece if not isinstance(field, Path)] for piece in group]
    return sha256_text(canonical_json([rule, columns, whose]))


def _groups(offer: TableOffer, ordered: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Yield the tables of a model, or of a dataset, after those of the other."""
    width = 2 if offer.level == "dataset" else Piece._fields.index("split")
    for _, group in itertools.groupby(ordered, key=lambda piece: piece[:width]):
        yield list(group)


def _columns(offer: TableOffer, pieces: Iterable[Piece]) -> list[str]:
    """Return the columns of a joined table: whose it is, and its own in the order of their first appearance."""
    if offer.count:
        return [*(name for name in _whose(offer) if name not in offer.count), *offer.count, "n"]
    seen = dict.fromkeys(piece.sha256 for piece in pieces)
    paths = {piece.sha256: piece.path for piece in pieces}
    own = dict.fromkeys(name for sha256 in seen for name in _read(paths[sha256], header_only=True).columns)
    return [*_whose(offer), *own]


def _whose(offer: TableOffer) -> tuple[str, ...]:
    """Return the columns that say whose a row is; what is counted, or is of a dataset, belongs to no one split."""
    if offer.level == "dataset":
        return TABLE_COLUMNS[:2]
    return tuple(name for name in TABLE_COLUMNS if not (offer.count and name in ("split", "seed")))


def _joined(offer: TableOffer, group: Sequence[Piece]) -> Iterator[Rows]:
    """Yield the rows of one part."""
    tables = _distinct(group) if offer.level == "dataset" else map(_labelled, group)
    if offer.largest:
        tables = iter([_largest(tables, *offer.largest)])
    yield from [_counted(tables, group[0], offer.count)] if offer.count else tables


def _read(path: Path, *, header_only: bool = False) -> Rows:
    """Read a table as text; one without columns is none."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        columns = tuple(next(reader, ()))
        rows = [] if header_only else [tuple(row) for row in reader if row]
    return Rows(columns, rows)


def _labelled(piece: Piece) -> Rows:
    """Read a table and say in columns whose it is."""
    columns, rows = _read(piece.path)
    whose = tuple(str(getattr(piece, name)) for name in TABLE_COLUMNS)
    return Rows((*columns, *TABLE_COLUMNS), [(*row, *whose) for row in rows])


def _distinct(pieces: Iterable[Piece]) -> Iterator[Rows]:
    """Yield the rows of tables that say the same of a dataset, each once."""
    seen: set[tuple[str, ...]] = set()
    for piece in {piece.sha256: piece for piece in pieces}.values():  # equal files, the rule here, are read once
        columns, rows = _labelled(piece)
        width = len(columns) - len(TABLE_COLUMNS) + 2
        new = dict.fromkeys(row[:width] for row in rows if row[:width] not in seen)
        yield Rows(columns[:width], list(new))
        seen.update(new)


def _largest(tables: Iterable[Rows], column: str, n: int) -> Rows:
    """Return the `n` rows with the largest absolute values, those that came first among equals; NaN is no value."""
    columns: dict[str, None] = {}
    kept: list[tuple[float, dict[str, str]]] = []
    for table in tables:
        columns |= dict.fromkeys(table.columns)
        at = table.columns.index(column) if table.rows else 0
        fewest = kept[-1][0] if len(kept) == n else -1.0  # what is no larger than the last of n is not kept
        sized = [(size, row) for row in table.rows if (size := abs(float(row[at] or "nan"))) > fewest]
        found = sorted(sized, key=lambda entry: -entry[0])[:n]
        new = [(size, dict(zip(table.columns, row, strict=True))) for size, row in found]
        kept = sorted([*kept, *new], key=lambda entry: -entry[0])[:n]
    return Rows(tuple(columns), [tuple(row.get(name, "") for name in columns) for _, row in kept])


def _counted(tables: Iterable[Rows], piece: Piece, columns: tuple[str, ...]) -> Rows:
    """Count rows by the values of columns, in the order of these values."""
    counts: Counter[tuple[str, ...]] = Counter()
    for table in tables:
        counts.update(table.ordered(columns))
    whose = {name: str(getattr(piece, name)) for name in TABLE_COLUMNS if name not in columns}
    rows = [(*values, str(n), *whose.values()) for values, n in sorted(counts.items())]
    return Rows((*columns, "n", *whose), rows)


def _write_rows(tables: Iterable[Rows], columns: Sequence[str], file: IO[bytes]) -> int:
    """Write rows as CSV, free text made plain, and return their number."""
    free = [position for position, name in enumerate(columns) if name in FREE_TEXT]
    n_rows = 0
    for table in tables:
        rows = table.ordered(columns)
        if free:
            rows = (
                tuple([plain_text(cell) if position in free else cell for position, cell in enumerate(row)])
                for row in rows
            )
        file.write(_as_text(list(rows)).encode())
        n_rows += len(table.rows)
    return n_rows


def _as_text(rows: list[tuple[str, ...]]) -> str:
    """Return rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    # Before Python 3.13 the writer leaves a carriage return without quotes, at which readers end the row.
    return "".join(map(as_row, rows)) if "\r" in text.getvalue() else text.getvalue()
