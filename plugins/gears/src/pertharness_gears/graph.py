"""The graph of genes that share terms of the Gene Ontology, by the rule of cell-gears' ``make_GO``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pertharness import DataError
from pertharness_foundation.terms import read_terms

from pertharness_gears.files import SideFiles, read_genes

if TYPE_CHECKING:
    import pandas as pd

THRESHOLD = 0.1
"""Smallest weight of an edge, exclusive (cell-gears 0.1.2, ``get_GO_edge_list``)."""
BLOCK = 1000
"""Genes whose overlaps are counted at a time, so that memory is limited for 10 000 genes."""
COLUMNS = ("source", "target", "importance")


@dataclass(frozen=True)
class Ontology:
    """The prior knowledge of the model.

    Attributes
    ----------
    terms
        Gene -> terms, of the genes of the graph.
    genes
        Genes that can be perturbed, sorted: the nodes of the graph.
    edges
        All edges between them, before the cut to the strongest: columns ``source``, ``target``, ``importance``.
    notes
        What a reader of the results should know of it.
    """

    terms: dict[str, frozenset[str]]
    genes: list[str]
    edges: pd.DataFrame
    notes: tuple[str, ...] = ()


def open_ontology(side: SideFiles, of_data: Iterable[str]) -> Ontology:
    """Read the side files; without a graph, make one.

    Parameters
    ----------
    side
        The files.
    of_data
        Measured and perturbed genes: those of the graph where neither a graph nor a list of its genes is given, as in
        cell-gears with ``default_pert_graph=False``.

    Raises
    ------
    DataError
        If a file is not what it has to be.
    """
    edges = read_edges(side.graph) if side.graph else None
    if side.pert_genes:
        candidates: Iterable[str] = read_genes(side.pert_genes)
    else:
        candidates = of_data if edges is None else [*edges["source"], *edges["target"]]
    return make_ontology(read_terms(side.gene2go, side.gene_table), candidates, edges)


def make_ontology(
    gene2go: Mapping[str, frozenset[str]], candidates: Iterable[str], edges: pd.DataFrame | None = None
) -> Ontology:
    """Return the genes among `candidates` that have terms, with the edges of a graph or, without one, new edges."""
    genes = sorted({gene for gene in candidates if gene2go.get(gene)})
    terms = {gene: gene2go[gene] for gene in genes}
    if edges is None:
        return Ontology(terms, genes, make_edges(terms, genes))
    inside = edges["source"].isin(terms) & edges["target"].isin(terms)
    return Ontology(terms, genes, edges[inside].reset_index(drop=True))


def make_edges(gene2go: Mapping[str, Set[str]], genes: Sequence[str]) -> pd.DataFrame:
    """Return the edges between genes that share more than a tenth of their terms.

    The weight of a and b is ``|GO(a) & GO(b)| / |GO(a) | GO(b)|``, kept where it exceeds 0.1 (0.1 itself is dropped);
    both directions, and a gene with itself (1.0). Rows are grouped by source, in the order of `genes`, as are the
    targets of a source. Source: ``make_GO`` of cell-gears 0.1.2, doi 10.1038/s41587-023-01905-6.

    Returns
    -------
    DataFrame
        Columns ``source``, ``target``, ``importance``.

    Raises
    ------
    DataError
        If a gene has no terms.
    """
    import pandas as pd

    names = list(dict.fromkeys(genes))
    without = [gene for gene in names if not gene2go.get(gene)]
    if without:
        raise DataError(f"gears: {without[0]!r} has no terms ({len(without)} such genes); leave them out")
    blocks = list(_overlaps([gene2go[gene] for gene in names]))
    empty = np.zeros(0, dtype=np.intp)
    sources, targets, weights = (
        np.concatenate([block[i] for block in blocks] or [empty]) for i in range(3)
    )  # fmt: skip
    labels = np.array(names, dtype=object)
    columns = (labels[sources.astype(np.intp)], labels[targets.astype(np.intp)], weights.astype(np.float64))
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))


def _overlaps(terms: Sequence[Set[str]]) -> Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield sources, targets and weights above the threshold, a block of sources at a time."""
    from scipy import sparse

    number = {term: i for i, term in enumerate(dict.fromkeys(term for of_gene in terms for term in of_gene))}
    sizes = np.array([len(of_gene) for of_gene in terms])
    columns = np.fromiter(
        (number[term] for of_gene in terms for term in of_gene), dtype=np.int64, count=int(sizes.sum())
    )
    starts = np.concatenate([[0], np.cumsum(sizes)])
    ones = np.ones(len(columns), dtype=np.int32)
    members = sparse.csr_matrix((ones, columns, starts), shape=(len(terms), len(number)))
    turned = members.T.tocsr()
    for start in range(0, len(terms), BLOCK):
        shared = (members[start : start + BLOCK] @ turned).tocsr()
        shared.sort_indices()
        shared = shared.tocoo()
        sources = shared.row.astype(np.intp) + start
        weights = shared.data / (sizes[sources] + sizes[shared.col] - shared.data)
        strong = weights > THRESHOLD
        yield sources[strong], shared.col[strong].astype(np.intp), weights[strong]


def strongest(edges: pd.DataFrame, k: int) -> pd.DataFrame:
    """Return the `k` strongest edges of each target, ties in the order of the rows.

    Targets are sorted by name, the edges of each by falling weight. The call is that of cell-gears, target by target:
    where a target has no more than `k`, pandas orders ties in its own way, and the order decides the last bits of sums.
    """
    import pandas as pd

    parts = [of_target.nlargest(k, ["importance"]) for _, of_target in edges.groupby("target")]
    return pd.concat(parts, ignore_index=True) if parts else edges


def read_edges(path: Path) -> pd.DataFrame:
    """Read a CSV with columns ``source``, ``target`` and ``importance``.

    Raises
    ------
    DataError
        If a column is missing, or a weight is negative or no number.
    """
    import pandas as pd

    try:
        # Numbers are read as cell-gears reads them.
        edges = pd.read_csv(path, dtype={"source": str, "target": str}, keep_default_na=False)
    except (ValueError, OSError) as error:  # pandas' errors are ValueErrors
        raise DataError(f"gears: {path.name} cannot be read as a CSV: {error}") from None
    absent = [name for name in COLUMNS if name not in edges]
    if absent:
        raise DataError(f"gears: {path.name} has no column {absent[0]!r}; expected {','.join(COLUMNS)}")
    weights = pd.to_numeric(edges["importance"], errors="coerce")
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"gears: {path.name}, row {row + 2}: importance {edges['importance'].iloc[row]!r}; expected a number from 0"
        )
    return edges[list(COLUMNS)].assign(importance=weights.astype(np.float64))
