"""The spectral embedding of a weighted gene graph, as igraph's ``embed_adjacency_matrix`` has it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pertharness import DataError

from pertharness_baselines.components import leading_eigenpairs
from pertharness_baselines.embeddings.request import Request, answer, check_k, not_zeros
from pertharness_baselines.embeddings.table import as_numbers, read_frame, required

if TYPE_CHECKING:
    import pandas as pd

WEIGHTS = ("importance", "weight")
"""Names of the column of weights: GEARS' and igraph's."""


@dataclass(frozen=True)
class Graph:
    """A graph: its genes in order of appearance, first as sources, and its edges as they stand in the file."""

    genes: list[str]
    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray


def embed_spectral(request: Request, k: int = 2) -> pd.DataFrame:
    """Return the first `k` dimensions of the spectral embedding of a weighted, undirected gene graph.

    With A the weights, loops on the diagonal, and D the diagonal of s / (n - 1), where s is the sum of a gene's
    weights, a loop counted twice: the eigenvectors of A + D of the largest eigenvalues in magnitude, times the square
    roots of these. That is ``embed_adjacency_matrix(no=k, which="lm", scaled=TRUE)`` of igraph, as in the authors'
    ``extract_pert_embedding_from_gears.R``, where k = 2; the paper's text says 10. Where the two directions of an edge
    differ, the larger weight counts. Where igraph's row is zeros there is none here: of a gene whose weights are all 0,
    which is one of the n nonetheless, and of one without a path to the genes that make up the dimensions.

    Raises
    ------
    DataError
        If the file is no list of edges, an edge has no name at an end, occurs twice, or has a negative weight; or if
        the graph has fewer than `k` genes, of which igraph makes an error, too.
    """
    check_k("spectral", k)
    path = required(request.source, "spectral", "P=spectral:go_essential_all.csv")
    graph = read_graph(path)
    if k > len(graph.genes):
        raise DataError(f"spectral: {path.name}: k is {k!r}, the graph has {len(graph.genes)} genes; expected no more")
    adjacency = undirected(graph)
    rows, has_weight = spectral(adjacency, k), diagonal(adjacency) > 0
    return answer(request, graph.genes, rows, f"spectral: {path.name}", has_weight & not_zeros(rows))


def read_graph(path: Path) -> Graph:
    """Read edges: columns ``source``, ``target`` and ``importance`` or ``weight``, in any order.

    Raises
    ------
    DataError
        If a column is missing, an end of an edge is empty, a weight is negative or no finite number, all are 0, or an
        edge occurs twice.
    """
    import pandas as pd

    header, frame = read_frame(path)
    weights = [name for name in WEIGHTS if name in header]
    absent = [name for name in ("source", "target") if name not in header] + ([] if weights else [" or ".join(WEIGHTS)])
    if absent:
        raise DataError(
            f"spectral: {path.name} has no column {absent[0]!r} (there: {', '.join(header)}); expected edges, "
            "source,target,importance"
        )
    columns = [frame[header.index(name)] for name in ("source", "target")]
    unnamed = (columns[0].isna() | columns[1].isna()).to_numpy()
    if unnamed.any():
        problem = f"row {int(unnamed.argmax()) + 2} names no source or no target (rows without: {int(unnamed.sum())})"
        raise DataError(f"spectral: {path.name}: {problem}; expected a gene at both ends of an edge")
    ends = [column.astype(str) for column in columns]
    weight = as_numbers(path, frame[[header.index(weights[0])]])[:, 0]
    codes, genes = pd.factorize(pd.concat(ends, ignore_index=True))
    source, target = codes[: len(weight)], codes[len(weight) :]
    graph = Graph([str(gene) for gene in genes], source, target, weight)
    _check_edges(path, graph)
    return graph


def _check_edges(path: Path, graph: Graph) -> None:
    """Refuse weights without meaning here, and edges that occur twice."""
    pairs = graph.source.astype(np.int64) * len(graph.genes) + graph.target
    again = np.ones(len(pairs), dtype=bool)
    again[np.unique(pairs, return_index=True)[1]] = False
    problems = {
        "has a weight that is no finite number": (~np.isfinite(graph.weight), "give it one, or leave the edge out"),
        "has a negative weight": (graph.weight < 0, "expected similarities from 0 up; shift or drop them"),
        "is a duplicate": (again, "keep one of them"),
    }
    for problem, (wrong, advice) in problems.items():
        if wrong.any():
            row = int(wrong.argmax())
            edge = f"{graph.genes[graph.source[row]]!r} -> {graph.genes[graph.target[row]]!r}"
            cause = f"the edge {edge} (row {row + 2}, weight {graph.weight[row]:g}) {problem}"
            raise DataError(f"spectral: {path.name}: {cause}; {advice} (edges like it: {int(wrong.sum())})")
    if not graph.weight.any():
        raise DataError(f"spectral: {path.name}: all weights are 0; expected similarities above 0")


def undirected(graph: Graph) -> Any:
    """Return the weights as a symmetric sparse matrix, shape (n, n), loops once: the larger of both directions."""
    from scipy import sparse

    n = len(graph.genes)
    directed = sparse.csr_matrix((graph.weight, (graph.source, graph.target)), shape=(n, n))
    return directed.maximum(directed.T)


def diagonal(adjacency: Any) -> np.ndarray:
    """Return what is added to the diagonal, s / (n - 1), shape (n,): 0 for a gene whose weights are all 0."""
    strength = np.asarray(adjacency.sum(axis=1)).ravel() + adjacency.diagonal()
    added: np.ndarray = strength / max(1, adjacency.shape[0] - 1)
    return added


def spectral(adjacency: Any, k: int) -> np.ndarray:
    """Return the embedding of `embed_spectral`, shape (n, k)."""
    from scipy import sparse

    values, vectors = leading_eigenpairs(adjacency + sparse.diags(diagonal(adjacency)), k)
    embedding: np.ndarray = vectors * np.sqrt(np.abs(values))
    return embedding
