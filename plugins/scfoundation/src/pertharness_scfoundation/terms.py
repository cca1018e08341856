"""Which file has the terms of the Gene Ontology, of which the perturbation graph is made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pertharness import RemoteFile, Skip
from pertharness_foundation.contents import named_file

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
        return named_file("scfoundation", "gene2go", named)
    for name in (OF_DATASET, GENE2GO.wanted):
        if name in files:
            return files[name]
    raise Skip(
        f"scFoundation needs the Gene Ontology terms of genes, {GENE2GO.filename!r}, which is not there: run "
        f"'pertharness weights fetch scfoundation' ({GENE2GO.url}), or name a file: "
        "scfoundation[gene2go=/PATH/gene2go.pkl]"
    )
