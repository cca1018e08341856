"""The side files: terms of the Gene Ontology for each gene, and the graph of perturbed genes made from them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pertharness import DataError, RemoteFile, Skip
from pertharness_foundation.contents import named_file, read_text
from pertharness_foundation.terms import read_json
from pertharness_foundation.unpickle import read_pickle

from pertharness_gears.settings import FileNames

_DATAVERSE = "https://dataverse.harvard.edu/api/access/datafile/"
GENE2GO = RemoteFile(url=f"{_DATAVERSE}6153417", filename="gene2go_all.pkl", optional=True)
PERT_GENES = RemoteFile(url=f"{_DATAVERSE}6934320", filename="essential_all_data_pert_genes.pkl", optional=True)
GRAPH = RemoteFile(
    url=f"{_DATAVERSE}6934319", filename="go_essential_all.tar.gz", member="go_essential_all.csv", optional=True
)
OF_DATASET = "gene2go.csv"
"""Side file of a dataset with terms for its own genes, a row per gene and term."""
DECLARED = {"gene2go": GENE2GO, "pert_genes": PERT_GENES, "graph": GRAPH}
"""The files that cell-gears 0.1.2 would download itself, by the parameter that may name another: so optional."""
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
    gene_table
        Symbols of the genes that `gene2go` numbers, as that of the NCBI does.
    """

    gene2go: Path
    pert_genes: Path | None
    graph: Path | None
    gene_table: Path | None = None


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
    named = {name: named_file("gears", name, str(params[name])) for name in PATHS if params[name]}
    table = named.pop("gene_table", None)
    fetched = {name: files[file.wanted] for name, file in DECLARED.items() if file.wanted in files}
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
    return SideFiles(paths["gene2go"], paths.get("pert_genes"), paths.get("graph"), table)


def read_genes(path: Path) -> list[str]:
    """Return the genes of a list, from a pickle, a JSON or the first column of a CSV.

    Raises
    ------
    DataError
        If the file cannot be read, or is something else.
    """
    if path.suffix not in _GENES:
        raise DataError(f"{path.name!r} ends in none of {', '.join(_GENES)}; expected a list of genes")
    content = _GENES[path.suffix](path)
    if not isinstance(content, (list, set, frozenset)) or not all(isinstance(gene, str) for gene in content):
        raise DataError(f"{path.name} holds a {type(content).__name__}; expected a list of gene symbols")
    return list(content)


def _first_column(path: Path) -> list[str]:
    """Return the first column of a CSV below its header."""
    return [row[0] for row in csv.reader(io.StringIO(read_text(path), newline="")) if row][1:]


_GENES: dict[str, Callable[[Path], Any]] = {".pkl": read_pickle, ".json": read_json, ".csv": _first_column}
