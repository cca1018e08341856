"""The side files: terms of the Gene Ontology for each gene, and the graph of perturbed genes made from them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pertharness import DataError, RemoteFile, Skip

from pertharness_gears.settings import FileNames

_DATAVERSE = "https://dataverse.harvard.edu/api/access/datafile/"
GENE2GO = RemoteFile(url=f"{_DATAVERSE}6153417", filename="gene2go_all.pkl", optional=True)
PERT_GENES = RemoteFile(url=f"{_DATAVERSE}6934320", filename="essential_all_data_pert_genes.pkl", optional=True)
GRAPH = RemoteFile(
    url=f"{_DATAVERSE}6934319", filename="go_essential_all.tar.gz", member="go_essential_all.csv", optional=True
)
OF_DATASET = "gene2go.csv"
"""Side file of a dataset with terms for its own genes, a row per gene and term."""
DECLARED = (GENE2GO, PERT_GENES, GRAPH)
"""The files that cell-gears 0.1.2 would download itself. Optional, because a parameter may name others."""
PATHS: dict[str, Any] = FileNames().model_dump()
"""Parameters that are paths of the user's files; if empty, the declared file is used, if available."""


@dataclass(frozen=True)
class SideFiles:
    """The paths of the side files.

    Attributes
    ----------
    gene2go
        Gene -> terms.
    pert_genes
        Genes of the graph; None: those of `graph`, or else those of the data.
    graph
        Edges ``source,target,importance``; None: made of `gene2go`.
    """

    gene2go: Path
    pert_genes: Path | None
    graph: Path | None


def find_files(files: Mapping[str, Path], params: Mapping[str, Any]) -> SideFiles:
    """Return the files that the parameters name; for the others, the fetched files.

    Files of parameters have priority, then terms of the dataset, then fetched files. The user's or the dataset's
    gene2go needs the user's graph or a new one, because the published graph belongs to the published gene2go.

    Raises
    ------
    Skip
        If there is no gene2go; the message names the file to fetch.
    DataError
        If a parameter names a file that is not there.
    """
    named = {name: _named(name, str(params[name])) for name in PATHS if params[name]}
    fetched = {name: files[file.wanted] for name, file in zip(PATHS, DECLARED, strict=True) if file.wanted in files}
    if OF_DATASET in files and not named:
        named = {"gene2go": files[OF_DATASET]}
    if "gene2go" in named:
        fetched = {}
    elif "graph" in named:
        fetched.pop("pert_genes", None)
    paths = {**fetched, **named}
    if "gene2go" not in paths:
        raise Skip(
            f"GEARS needs the Gene Ontology terms of genes, {GENE2GO.filename!r}, which is not there: run "
            f"'pertharness weights fetch gears' ({GENE2GO.url}), or name a file: gears[gene2go=/PATH/gene2go.pkl]"
        )
    return SideFiles(paths["gene2go"], paths.get("pert_genes"), paths.get("graph"))


def _named(param: str, text: str) -> Path:
    """Return the path that a parameter names."""
    path = Path(text).expanduser()
    if not path.is_absolute() or not path.is_file():
        why = "is not a file" if path.is_absolute() else "is not an absolute path, and jobs work in their own folders"
        raise DataError(f"gears: {param}={text!r} {why}; expected the path of a file")
    return path


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler of dicts, sets, lists and texts only, because other pickles can run code."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the few classes that such a file may contain."""
        if (module, name) in _PLAIN:
            return _PLAIN[module, name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, and only dicts, sets, lists and texts are read")


_PLAIN = {("builtins", kind.__name__): kind for kind in (set, frozenset, list, dict)}


def read_pickle(path: Path) -> Any:
    """Read a pickle of dicts, sets, lists and texts, without running any code.

    Raises
    ------
    DataError
        If it is no pickle, or one of anything else.
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file).load()
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        # Truncated files, and files of other formats, raise any of these.
        raise DataError(f"gears: {path.name} cannot be read as a pickle: {error}; fetch it again") from None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"gears: {path.name} cannot be read as JSON: {error}") from None


def _read_rows(path: Path) -> list[list[str]]:
    """Return the rows of a CSV below its header."""
    import csv

    with path.open(encoding="utf-8-sig", newline="") as file:
        return [row for row in csv.reader(file) if row][1:]


def _genes_from_rows(path: Path) -> list[str]:
    return [row[0] for row in _read_rows(path)]


def _terms_from_rows(path: Path) -> dict[str, list[str]]:
    """Read a CSV of two columns, gene and term."""
    terms: dict[str, list[str]] = {}
    for number, row in enumerate(_read_rows(path), start=2):
        if len(row) != 2:
            raise DataError(f"gears: {path.name}, row {number}: {row!r}; expected two columns, gene and term")
        terms.setdefault(row[0], []).append(row[1])
    return terms


_TERMS: dict[str, Callable[[Path], Any]] = {".pkl": read_pickle, ".json": _read_json, ".csv": _terms_from_rows}
_GENES: dict[str, Callable[[Path], Any]] = {".pkl": read_pickle, ".json": _read_json, ".csv": _genes_from_rows}


def _read(path: Path, readers: Mapping[str, Callable[[Path], Any]]) -> Any:
    if path.suffix not in readers:
        raise DataError(f"gears: {path.name!r} ends in none of {', '.join(readers)}")
    return readers[path.suffix](path)


def read_gene2go(path: Path) -> dict[str, frozenset[str]]:
    """Return the terms of each gene, from a dict in a pickle or a JSON, or from a CSV with a row per gene and term.

    Raises
    ------
    DataError
        If the file cannot be read, or is something else.
    """
    content = _read(path, _TERMS)
    if not isinstance(content, dict) or not content:
        raise DataError(f"gears: {path.name} holds a {type(content).__name__}; expected a dict: gene -> terms")
    for gene, terms in content.items():
        if not isinstance(gene, str) or not isinstance(terms, (set, frozenset, list, tuple)):
            raise DataError(f"gears: {path.name} gives {gene!r} a {type(terms).__name__}; expected terms of a gene")
    return {gene: frozenset(terms) for gene, terms in content.items()}


def read_genes(path: Path) -> list[str]:
    """Return the genes of a list, from a pickle, a JSON or the first column of a CSV.

    Raises
    ------
    DataError
        If the file cannot be read, or is something else.
    """
    content = _read(path, _GENES)
    if not isinstance(content, (list, set, frozenset)) or not all(isinstance(gene, str) for gene in content):
        raise DataError(f"gears: {path.name} holds a {type(content).__name__}; expected a list of gene symbols")
    return list(content)
