"""Terms of the Gene Ontology for each gene, from the files in which they are published. Nothing here needs torch."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pertharness import DataError, RemoteFile

from pertharness_foundation.contents import check_no_page, read_text
from pertharness_foundation.unpickle import read_pickle

NCBI_GENE2GO = RemoteFile(url="https://ftp.ncbi.nlm.nih.gov/gene/DATA/gene2go.gz", filename="gene2go.gz")
"""The annotations of all species, made anew each week, so that no hash of it stands."""
HGNC_COMPLETE = RemoteFile(
    url="https://storage.googleapis.com/public-download-files/hgnc/tsv/tsv/hgnc_complete_set.txt",
    filename="hgnc_complete_set.txt",
)
"""Symbols of human genes with their numbers at the NCBI, renewed each week."""
FORMATS = (".pkl", ".json", ".csv", ".csv.gz", ".sqlite", "gene2go.gz")
_HUMAN = "9606"
_NO_DATA = "ND"
"""Evidence of the statement that nothing is known of a gene; it is no annotation."""
_GENE_COLUMNS, _TERM_COLUMNS = ("gene", "symbol"), ("term", "go_id")
Terms = dict[str, frozenset[str]]


def read_terms(path: Path, gene_table: Path | None = None) -> Terms:
    """Return the terms of each gene, sorted by gene.

    Parameters
    ----------
    path
        A pickle or a JSON of a dict, gene -> terms; a CSV, also compressed, with two columns or with ``symbol`` (or
        ``gene``) and ``go_id`` (or ``term``) among more; ``org.Hs.eg.sqlite`` of Bioconductor; or ``gene2go.gz`` of
        the NCBI. Of the last two the annotations of human genes as they were made, without those of more general
        terms, without evidence ND and, in gene2go, without those that deny a term (``NOT``).
    gene_table
        For ``gene2go.gz``, which numbers genes: ``hgnc_complete_set.txt`` of the HGNC, which has their symbols.

    Raises
    ------
    DataError
        If a file cannot be read, is something else, or has no terms. A pickle that would run code is not read.
    """
    name = path.name.lower()
    reader = _gene2go if name in ("gene2go", "gene2go.gz", "gene2go.txt") else _READERS.get(_suffix(name))
    if reader is None:
        raise DataError(f"{path.name!r} ends in none of {', '.join(FORMATS)}; expected a file of terms for genes")
    content = reader(path, gene_table)
    if not isinstance(content, Mapping) or not content:
        held = "no gene" if content == {} else f"a {type(content).__name__}"
        raise DataError(f"{path.name} holds {held}; expected a dict: gene -> terms")
    for gene, terms in content.items():
        if not isinstance(gene, str) or not isinstance(terms, (set, frozenset, list, tuple)):
            raise DataError(f"{path.name} has a {type(terms).__name__} for {gene!r}; expected its terms")
        if other := [term for term in terms if not isinstance(term, str)]:
            raise DataError(f"{path.name} has the term {other[0]!r} of {gene!r}; expected a text")
    return {gene: frozenset(content[gene]) for gene in sorted(content)}


def _suffix(name: str) -> str:
    return ".csv.gz" if name.endswith(".csv.gz") else Path(name).suffix


def _pickle(path: Path, _: Path | None) -> Any:
    return read_pickle(path)


def _json(path: Path, _: Path | None) -> Any:
    return read_json(path)


def read_json(path: Path) -> Any:
    """Return the content of a JSON.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path.name} cannot be read as JSON: {error}") from None


def _csv(path: Path, _: Path | None) -> dict[str, set[str]]:
    text = "".join(_lines(path)) if path.name.lower().endswith(".gz") else read_text(path)
    rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    header = rows[0] if rows else []
    gene, term = _column(header, _GENE_COLUMNS), _column(header, _TERM_COLUMNS)
    if len(header) == 2 and None in (gene, term):
        gene, term = 0, 1
    if gene is None or term is None:
        raise DataError(
            f"{path.name} has the columns {', '.join(header) or 'of an empty file'}; expected two, gene and term, or "
            f"columns called {' or '.join(_GENE_COLUMNS)}, and {' or '.join(_TERM_COLUMNS)}"
        )
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise DataError(f"{path.name}, row {number}: {row!r}; expected {len(header)} columns as in its first row")
    return _collect((row[gene], row[term]) for row in rows[1:])


def _column(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((number for number, name in enumerate(header) if name.strip().lower() in names), None)


def _collect(pairs: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    terms: dict[str, set[str]] = {}
    for gene, term in pairs:
        terms.setdefault(gene, set()).add(term)
    return terms


def _sqlite(path: Path, _: Path | None) -> dict[str, set[str]]:
    """Return the annotations of ``org.Hs.eg.sqlite``."""
    select = " UNION ".join(
        f"SELECT symbol, go_id FROM {table} JOIN gene_info USING (_id) WHERE evidence <> '{_NO_DATA}'"
        for table in ("go_bp", "go_mf", "go_cc")
    )
    try:
        with path.open("rb") as file:
            check_no_page(path.name, file.read(4096))
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            return _collect(connection.execute(select))
        finally:
            connection.close()
    except OSError as error:
        raise DataError(f"{path.name}: {error.strerror or error}; expected a file at {str(path)!r}") from None
    except sqlite3.Error as error:
        raise DataError(
            f"{path.name} cannot be read as a database of annotations: {error}; expected org.Hs.eg.sqlite of "
            "Bioconductor, with the tables gene_info, go_bp, go_mf and go_cc"
        ) from None


def _gene2go(path: Path, gene_table: Path | None) -> dict[str, set[str]]:
    if gene_table is None:
        raise DataError(
            f"{path.name} numbers genes as the NCBI does: name a table of their symbols, too, {HGNC_COMPLETE.filename} "
            f"({HGNC_COMPLETE.url}), in the parameter gene_table"
        )
    symbols = read_entrez_symbols(gene_table)
    lines = _lines(path)
    header = next(lines, "").rstrip("\n").lstrip("#").split("\t")
    wanted = ("tax_id", "GeneID", "GO_ID", "Evidence", "Qualifier")
    if absent := [name for name in wanted if name not in header]:
        raise DataError(f"{path.name} has no column {absent[0]!r}; expected gene2go.gz of the NCBI: {NCBI_GENE2GO.url}")
    at = {name: header.index(name) for name in wanted}
    # Of more than a hundred million lines those of one species: the rest is not split.
    human = (line.rstrip("\n").split("\t") for line in lines if line.startswith(f"{_HUMAN}\t"))
    return _collect(
        (symbols[row[at["GeneID"]]], row[at["GO_ID"]])
        for row in human
        if len(row) == len(header) and row[at["GeneID"]] in symbols and row[at["Evidence"]] != _NO_DATA
        and not row[at["Qualifier"]].startswith("NOT")
    )  # fmt: skip


def read_entrez_symbols(path: Path) -> dict[str, str]:
    """Return gene number at the NCBI -> approved symbol, of ``hgnc_complete_set.txt`` of the HGNC.

    Raises
    ------
    DataError
        If it lacks the column ``symbol`` or ``entrez_id``.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter="\t")
    if absent := {"symbol", "entrez_id"} - set(reader.fieldnames or ()):
        raise DataError(
            f"{path.name} has no column {min(absent)!r}; expected {HGNC_COMPLETE.filename} of the HGNC, with tabs "
            f"between the columns: {HGNC_COMPLETE.url}"
        )
    return {row["entrez_id"]: row["symbol"] for row in reader if row["entrez_id"] and row["symbol"]}


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text that may be compressed, however large it is."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
        check_no_page(path.name, head)
        is_compressed = head.startswith(b"\x1f\x8b")
        with gzip.open(path, "rt", encoding="utf-8") if is_compressed else path.open(encoding="utf-8") as text:
            yield from text
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path.name} is cut off or damaged ({error}): fetch it again") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is no text in UTF-8 ({error}): is it another file?") from None
    except OSError as error:
        raise DataError(f"{path.name}: {error.strerror or error}; expected a file at {str(path)!r}") from None


_READERS: dict[str, Callable[[Path, Path | None], Any]] = {
    ".pkl": _pickle, ".json": _json, ".csv": _csv, ".csv.gz": _csv, ".sqlite": _sqlite,
}  # fmt: skip
