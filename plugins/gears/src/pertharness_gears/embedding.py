"""The spectral embedding of the GO graph, which the linear model of the paper takes from GEARS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pertharness import DataError, Skip

if TYPE_CHECKING:
    import pandas as pd

DENSE = 2000
"""Up to this many genes, all eigenvectors are computed directly; beyond, Lanczos iterations are used."""


def embed_edges(edges: pd.DataFrame, labels: list[str], k: int) -> pd.DataFrame:
    """Return the first `k` dimensions of the spectral embedding of a graph, for the labels that are in it.

    All edges count, not the 20 strongest alone; they are taken as undirected, where the two directions differ with the
    larger weight. See `spectral`.

    Raises
    ------
    DataError
        If `k` is below 1.
    Skip
        If no label is in the graph.
    """
    import pandas as pd
    from scipy import sparse

    if k < 1:
        raise DataError(f"go: k={k!r}; expected at least 1")
    codes, genes = pd.factorize(pd.concat([edges["source"], edges["target"]], ignore_index=True))
    rows = {str(gene): row for row, gene in enumerate(genes)}
    embedded = [label for label in labels if label in rows]
    if not embedded:
        raise Skip(f"none of the {len(labels)} labels (first: {labels[:1]}) is a gene of the GO graph")
    ends = (codes[: len(edges)], codes[len(edges) :])
    directed = sparse.csr_matrix((edges["importance"].to_numpy(), ends), shape=(len(genes), len(genes)))
    values = spectral(directed.maximum(directed.T), k)
    columns = [f"d{i + 1}" for i in range(values.shape[1])]
    return pd.DataFrame(
        values[[rows[label] for label in embedded]], index=pd.Index(embedded, name="label"), columns=columns
    )


def spectral(adjacency: Any, k: int) -> np.ndarray:
    """Return the adjacency spectral embedding of an undirected, weighted graph.

    With A the weights, loops once on the diagonal, and s the sums of a gene's weights, a loop counted twice: the
    eigenvectors of A + diag(s / (n - 1)) of the `k` eigenvalues of largest magnitude, times the square roots of the
    magnitudes. So igraph's ``embed_adjacency_matrix(no = k, which = "lm", scaled = TRUE)``, which the authors of
    doi 10.1038/s41592-025-02772-6 use with k = 2 (their text says 10).

    Parameters
    ----------
    adjacency
        Symmetric and sparse, shape (n, n).
    k
        Dimensions; where there are fewer genes, as many as these.

    Returns
    -------
    numpy.ndarray
        Shape (n, k); of each column the entry of largest magnitude is positive, as the decomposition leaves signs open.
    """
    from scipy import linalg, sparse
    from scipy.sparse import linalg as sparse_linalg

    n = adjacency.shape[0]
    k = min(k, n)
    strength = np.asarray(adjacency.sum(axis=1)).ravel() + adjacency.diagonal()
    matrix = adjacency + sparse.diags(strength / max(1, n - 1))
    if n > DENSE and k < n // 2:
        # A fixed start, so that the last bits are always the same.
        start = np.random.default_rng(0).normal(size=n)
        values, vectors = sparse_linalg.eigsh(matrix, k=k, which="LM", v0=start, tol=0)
    else:
        values, vectors = linalg.eigh(matrix.toarray())
    order = np.argsort(-np.abs(values), kind="stable")[:k]
    scaled: np.ndarray = vectors[:, order] * np.sqrt(np.abs(values[order]))
    largest = scaled[np.abs(scaled).argmax(axis=0), np.arange(k)]
    signed: np.ndarray = scaled * np.where(largest < 0, -1.0, 1.0)
    return signed
