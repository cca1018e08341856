"""The genes that can be perturbed and their terms of the Gene Ontology: the nodes of the perturbation graph."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pertharness import DataError, RemoteFile, Skip

GENE2GO = RemoteFile(
    url="https://dataverse.harvard.edu/api/access/datafile/6153417", filename="gene2go.pkl", optional=True
)
OF_DATASET = "gene2go.csv"
"""Terms that a data set brings for its own genes, with a row per gene and term."""


def find_terms(files: Mapping[str, Path], named: str) -> Path:
    """Return the file of terms: that of the user, or else of the data set, or else the fetched one.

    Raises
    ------
    Skip
        If there is none.
    """
    if named:
        from pertharness_foundation.contents import named_file

        return named_file("scfoundation", "gene2go", named)
    for name in (OF_DATASET, GENE2GO.wanted):
        if name in files:
            return files[name]
    raise Skip(
        f"scFoundation needs the Gene Ontology terms of genes, {GENE2GO.filename!r}, which is not there: run "
        f"'pertharness weights fetch scfoundation' ({GENE2GO.url}), or name a file: "
        "scfoundation[gene2go=/PATH/gene2go.pkl]"
    )


def read_terms(path: Path) -> dict[str, frozenset[str]]:
    """Return the terms of each gene, sorted by gene, of a pickle or a JSON of a dict, or a CSV of genes and terms.

    Raises
    ------
    DataError
        If the file cannot be read, or is something else; a pickle that would run code is not read.
    """
    if path.suffix not in _READERS:
        raise DataError(f"scfoundation: {path.name!r} ends in none of {', '.join(_READERS)}")
    content = _READERS[path.suffix](path)
    if not isinstance(content, Mapping) or not content:
        held = "no gene" if content == {} else f"a {type(content).__name__}"
        raise DataError(f"scfoundation: {path.name} holds {held}; expected a dict: gene -> terms")
    for gene, terms in content.items():
        if not isinstance(gene, str) or not isinstance(terms, (set, frozenset, list, tuple)):
            raise DataError(f"scfoundation: {path.name} has a {type(terms).__name__} for {gene!r}; expected its terms")
        if other := [term for term in terms if not isinstance(term, str)]:
            raise DataError(f"scfoundation: {path.name} has the term {other[0]!r} of {gene!r}; expected a text")
    return {gene: frozenset(content[gene]) for gene in sorted(content)}


def _read_pickle(path: Path) -> Any:
    from pertharness_foundation.unpickle import read_pickle

    return read_pickle(path)


def _read_json(path: Path) -> Any:
    from pertharness_foundation.contents import read_text

    text = read_text(path)
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"scfoundation: {path.name} cannot be read as JSON: {error}") from None


def _read_rows(path: Path) -> dict[str, set[str]]:
    from pertharness_foundation.contents import read_text

    terms: dict[str, set[str]] = {}
    rows = [row for row in csv.reader(io.StringIO(read_text(path), newline="")) if row]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != 2:
            raise DataError(f"scfoundation: {path.name}, row {number}: {row!r}; expected two columns, gene and term")
        terms.setdefault(row[0], set()).add(row[1])
    return terms


_READERS: dict[str, Callable[[Path], Any]] = {".pkl": _read_pickle, ".json": _read_json, ".csv": _read_rows}
