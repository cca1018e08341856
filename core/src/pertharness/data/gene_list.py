"""Read the list of genes that a published model knows, from the kinds of files that such lists are published in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from pertharness.contract.errors import DataError
from pertharness.data.label_map import clean_text

if TYPE_CHECKING:
    from pathlib import Path

GENE_COLUMNS = ("gene_name", "gene_symbol", "symbol")
"""Columns that hold symbols; of a table with several of them, the first of these is read."""
_HDF5, _NUMPY = b"\x89HDF\r\n\x1a\n", b"\x93NUMPY"
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_EXPECTED = (
    "expected one symbol per line, a JSON list or {symbol: index}, a CSV or TSV with a header, an h5ad whose var_names "
    "are the genes, or a .npy of texts"
)


def read_gene_list(path: Path) -> list[str]:
    """Return the genes of a published list, in its order.

    Parameters
    ----------
    path
        Text with one symbol per line; ``.json`` with a list, or with an object symbol -> index, which is read in the
        order of the indices; ``.csv`` or ``.tsv`` with a header, of which the column ``gene_name``, ``gene_symbol`` or
        ``symbol`` is read, or else the first; ``.h5ad``, of which ``var_names`` is read; ``.npy`` with an array of
        texts, not of objects. JSON, h5ad and npy are recognised by their content, too.

    Raises
    ------
    DataError
        If the file cannot be read, is of another kind, is empty, or has an empty or a duplicate symbol.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
        genes = _reader_of(path, head)(path)
    except (OSError, UnicodeDecodeError) as error:
        _refuse(path, f"cannot be read: {getattr(error, 'strerror', None) or error}; {_EXPECTED}")
    except RecursionError:
        _refuse(path, f"has JSON that is nested too deep; {_EXPECTED}")
    _check(genes, path)
    return genes


def _reader_of(path: Path, head: bytes) -> Callable[[Path], list[str]]:
    """Return the function that reads a file of this kind.

    Raises
    ------
    DataError
        If it is of a kind that holds no list.
    """
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        _refuse(path, f"is empty; {_EXPECTED}")
    if text[:1] == b"<":
        _refuse(path, f"is a web page or XML (it begins with {head[:15]!r}); fetch the file itself, or {_EXPECTED}")
    if head.startswith((*_PICKLES, *_ARCHIVES)):
        kind = "a pickle, which runs code when it is read" if head.startswith(_PICKLES) else "compressed or an archive"
        _refuse(path, f"is {kind}; {_EXPECTED}")
    if head.startswith(_HDF5) or path.suffix == ".h5ad":
        return _read_var_names
    if head.startswith(_NUMPY) or path.suffix == ".npy":
        return _read_array
    if text[:1] in (b"[", b"{") or path.suffix == ".json":
        return _read_json
    return _read_table if path.suffix in _DELIMITERS else _read_lines


def _read_lines(path: Path) -> list[str]:
    """Return the lines of a text; those at its end may be blank."""
    lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    for number, line in enumerate(lines, 1):
        if any(delimiter in line for delimiter in (",", "\t", ";")):
            _refuse(path, f"has {line[:60]!r} in line {number}, which is no single symbol; name a table .csv or .tsv")
    return [clean_text(line) for line in lines]


def _read_table(path: Path) -> list[str]:
    """Return the column of symbols of a table."""
    with io.StringIO(path.read_text(encoding="utf-8-sig"), newline="") as file:
        rows = csv.reader(file, delimiter=_DELIMITERS[path.suffix])
        try:
            header = [clean_text(name).lower() for name in next(rows)]
            column = next((header.index(name) for name in GENE_COLUMNS if name in header), 0)
            return [_cell(row, column, path, rows.line_num) for row in rows if row]
        except csv.Error as error:
            _refuse(path, f"is no table: {error} in line {rows.line_num}; {_EXPECTED}")


def _cell(row: list[str], column: int, path: Path, line: int) -> str:
    if column >= len(row):
        _refuse(path, f"has {len(row)} columns in line {line}, and its symbols are in column {column + 1}; {_EXPECTED}")
    return clean_text(row[column])


def _read_json(path: Path) -> list[str]:
    """Return a list of texts, or the keys of an object in the order of their indices."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        _refuse(path, f"is not JSON: {error}; {_EXPECTED}")
    if isinstance(content, dict):
        for symbol, index in content.items():
            if type(index) is not int:
                _refuse(path, f"has {index!r:.60} for {symbol!r}, expected its index, a whole number")
        if len(set(content.values())) < len(content):
            _refuse(path, "has two symbols with one index; expected an index of its own for each")
        return sorted(content, key=content.__getitem__)
    if not isinstance(content, list):
        _refuse(path, f"holds {content!r:.60}; {_EXPECTED}")
    for symbol in content:
        if not isinstance(symbol, str):
            _refuse(path, f"has {symbol!r:.60} in its list, expected symbols; {_EXPECTED}")
    return [clean_text(symbol) for symbol in content]


def _read_var_names(path: Path) -> list[str]:
    """Return the names of the genes of an h5ad, of which no values are read."""
    from pertharness.data.expression import open_stored

    return [str(name) for name in open_stored(path).var_names]


def _read_array(path: Path) -> list[str]:
    """Return an array of texts; one of objects is a pickle, and is not read."""
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except ValueError as error:
        _refuse(path, f"is no array of texts: {error}; {_EXPECTED}")
    if array.dtype.kind != "U" or array.ndim != 1:
        _refuse(path, f"is an array of {array.dtype} of shape {array.shape}, expected one dimension of texts")
    return [clean_text(str(name)) for name in array]


def _check(genes: list[str], path: Path) -> None:
    """Raise an error for a list without genes, or with an empty or a duplicate one."""
    if not genes:
        _refuse(path, f"has no genes; {_EXPECTED}")
    seen: set[str] = set()
    for number, gene in enumerate(genes, 1):
        if not gene:
            _refuse(path, f"has an empty symbol, number {number} of {len(genes)}; expected each to be a gene")
        if gene in seen:
            _refuse(path, f"has the duplicate symbol {gene!r}, number {number}; expected each gene once")
        seen.add(gene)


def _refuse(path: Path, problem: str) -> NoReturn:
    raise DataError(f"the gene list {str(path)!r} {problem}") from None
