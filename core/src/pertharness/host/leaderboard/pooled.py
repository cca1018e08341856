"""Tables beside the scores, joined over models and splits by the rules of their cards.

The tables of records may be large. They are read one at a time, as text, and written as they are read. So numbers keep
the digits that their scorer wrote, and memory holds the rows of one model at most.
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
"""Version of the rules for joining tables. Raise it when a rule changes, so that no older part is reused."""


class Piece(NamedTuple):
    """The table of one record and its owner. Tables are joined in the order of these fields."""

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
    """The rows of one model, or of one dataset, in a joined table: their position and the key of their content."""

    key: str
    """sha256 over the rule, the columns and the content of the records' tables."""
    start: int
    """Offset in the file in bytes."""
    length: int
    n_rows: int


class Rows(NamedTuple):
    """Rows as text."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def ordered(self, columns: Sequence[str]) -> Iterable[tuple[str, ...]]:
        """Return the rows with these columns, in this order; cells of an absent column are empty."""
        position_of = {name: position for position, name in enumerate(self.columns)}
        at = [position_of.get(name, len(self.columns)) for name in columns]
        if len(self.columns) not in at:
            return (tuple([row[position] for position in at]) for row in self.rows)
        return (tuple([(*row, "")[position] for position in at]) for row in self.rows)


def join_table(offer: TableOffer, pieces: Iterable[Piece], path: Path, earlier: Iterable[Part] = ()) -> list[Part]:
    """Write the tables of records as one table, atomically, and return its parts.

    Parameters
    ----------
    offer
        The table's rules on the card. Tables of the level ``dataset`` are written once per dataset and task. With
        `largest`, only the largest rows over all splits of a model are written, in descending order, with ties in
        their original order. With `count`, rows are counted.
    pieces
        In any order.
    path
        Where to write the table.
    earlier
        The parts of the present file, which must be unchanged. A part with the same tables and the same rule is
        copied from it.
    """
    ordered = sorted(pieces)
    columns = _columns(offer, ordered)
    earlier_parts = {part.key: part for part in earlier}
    parts = []
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(as_row(columns).encode())
        for group in _groups(offer, ordered):
            key, start = _key(offer, columns, group), file.tell()
            if key in earlier_parts:
                n_rows = earlier_parts[key].n_rows
                file.write(_read_part(path, earlier_parts[key]))
            else:
                n_rows = _write_rows(_joined_rows(offer, group), columns, file)
            parts.append(Part(key, start, file.tell() - start, n_rows))
    return parts


def _read_part(path: Path, part: Part) -> bytes:
    with path.open("rb") as file:
        file.seek(part.start)
        return file.read(part.length)


def _key(offer: TableOffer, columns: Sequence[str], group: Sequence[Piece]) -> str:
    """Return the key of a part: the digest of everything it depends on."""
    rule = {"version": VERSION, "level": offer.level, "largest": offer.largest, "count": offer.count}
    whose = [[field for field in piece if not isinstance(field, Path)] for piece in group]
    return sha256_text(canonical_json([rule, columns, whose]))


def _groups(offer: TableOffer, ordered: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Yield the tables of each model, or of each dataset."""
    width = 2 if offer.level == "dataset" else Piece._fields.index("split")
    for _, group in itertools.groupby(ordered, key=lambda piece: piece[:width]):
        yield list(group)


def _columns(offer: TableOffer, pieces: Iterable[Piece]) -> list[str]:
    """Return the columns of a joined table: those of the owner, then its own in order of first appearance."""
    if offer.count:
        return [*(name for name in _owner_columns(offer) if name not in offer.count), *offer.count, "n"]
    seen = dict.fromkeys(piece.sha256 for piece in pieces)
    paths = {piece.sha256: piece.path for piece in pieces}
    own = dict.fromkeys(name for sha256 in seen for name in _read(paths[sha256], header_only=True).columns)
    return [*_owner_columns(offer), *own]


def _owner_columns(offer: TableOffer) -> tuple[str, ...]:
    """Return the columns that name the owner of a row; counts and tables of a dataset belong to no single split."""
    if offer.level == "dataset":
        return TABLE_COLUMNS[:2]
    return tuple(name for name in TABLE_COLUMNS if not (offer.count and name in ("split", "seed")))


def _joined_rows(offer: TableOffer, group: Sequence[Piece]) -> Iterator[Rows]:
    """Yield the rows of one part."""
    tables = _distinct_rows(group) if offer.level == "dataset" else map(_read_owned, group)
    if offer.largest:
        tables = iter([_largest(tables, *offer.largest)])
    yield from [_count_rows(tables, group[0], offer.count)] if offer.count else tables


def _read(path: Path, *, header_only: bool = False) -> Rows:
    """Read a table as text; an empty file has no columns and no rows."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        columns = tuple(next(reader, ()))
        rows = [] if header_only else [tuple(row) for row in reader if row]
    return Rows(columns, rows)


def _read_owned(piece: Piece) -> Rows:
    """Read a table and append the columns that name its owner."""
    columns, rows = _read(piece.path)
    owner = tuple(str(getattr(piece, name)) for name in TABLE_COLUMNS)
    return Rows((*columns, *TABLE_COLUMNS), [(*row, *owner) for row in rows])


def _distinct_rows(pieces: Iterable[Piece]) -> Iterator[Rows]:
    """Yield each distinct row of the tables of one dataset once."""
    seen: set[tuple[str, ...]] = set()
    for piece in {piece.sha256: piece for piece in pieces}.values():  # most files are equal; read those once
        columns, rows = _read_owned(piece)
        width = len(columns) - len(TABLE_COLUMNS) + 2
        new = dict.fromkeys(row[:width] for row in rows if row[:width] not in seen)
        yield Rows(columns[:width], list(new))
        seen.update(new)


def _largest(tables: Iterable[Rows], column: str, n: int) -> Rows:
    """Return the `n` rows with the largest absolute values, the first of equal ones; NaN is ignored."""
    columns: dict[str, None] = {}
    largest: list[tuple[float, dict[str, str]]] = []
    for table in tables:
        columns |= dict.fromkeys(table.columns)
        at = table.columns.index(column) if table.rows else 0
        threshold = largest[-1][0] if len(largest) == n else -1.0  # a row must exceed the smallest of n rows
        sized = [(size, row) for row in table.rows if (size := abs(float(row[at] or "nan"))) > threshold]
        candidates = sorted(sized, key=lambda entry: -entry[0])[:n]
        new = [(size, dict(zip(table.columns, row, strict=True))) for size, row in candidates]
        largest = sorted([*largest, *new], key=lambda entry: -entry[0])[:n]
    return Rows(tuple(columns), [tuple(row.get(name, "") for name in columns) for _, row in largest])


def _count_rows(tables: Iterable[Rows], piece: Piece, columns: tuple[str, ...]) -> Rows:
    """Count rows by the values of columns; the counts are sorted by these values."""
    counts: Counter[tuple[str, ...]] = Counter()
    for table in tables:
        counts.update(table.ordered(columns))
    owner = {name: str(getattr(piece, name)) for name in TABLE_COLUMNS if name not in columns}
    rows = [(*values, str(n), *owner.values()) for values, n in sorted(counts.items())]
    return Rows((*columns, "n", *owner), rows)


def _write_rows(tables: Iterable[Rows], columns: Sequence[str], file: IO[bytes]) -> int:
    """Write rows as CSV, with free text escaped, and return their number."""
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
