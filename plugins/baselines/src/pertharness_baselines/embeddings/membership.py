"""The spectral embedding of which genes belong to which terms, such as pathways."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pertharness import DataError

from pertharness_baselines.components import fix_signs, leading_eigenpairs
from pertharness_baselines.embeddings.request import Request, answer, check_k, not_zeros
from pertharness_baselines.embeddings.table import as_numbers, read_frame, required

if TYPE_CHECKING:
    import pandas as pd


def embed_membership(request: Request, k: int = 10) -> pd.DataFrame:
    """Return the first `k` dimensions of the spectral embedding of a gene x term matrix.

    With B the memberships, and d and e its row and column sums: U of the singular value decomposition U S V' of
    B / sqrt(d e'), times the square roots of S, largest first. The paper's text says that the spectral embedding of the
    pathway membership matrix has 10 dimensions, and no more than that (its code embeds a graph, see `embed_spectral`);
    the normalisation, which keeps large pathways from making up all dimensions, is that of Dhillon 2001,
    doi 10.1145/502512.502550. A gene in no term has no row, nor has one that no chain of terms joins to the genes that
    make up the dimensions: it would be zeros.

    Raises
    ------
    DataError
        If the file is neither a list of gene and term nor a matrix of memberships.
    """
    check_k("membership", k)
    path = required(request.source, "membership", "P=membership:pathways.csv")
    genes, matrix = read_membership(path)
    rows, in_a_term = bipartite(matrix, k), np.asarray(matrix.sum(axis=1)).ravel() > 0
    return answer(request, genes, rows, f"membership: {path.name}", in_a_term & not_zeros(rows))


def read_membership(path: Path) -> tuple[list[str], Any]:
    """Read two columns, gene and term, or a matrix: a row per gene, a column per term, memberships from 0 up.

    A pair that a list names twice counts once, as where several sources say the same.

    Raises
    ------
    DataError
        If a row names no gene or no term, a membership is negative or no finite number, or no gene has any.
    """
    import pandas as pd
    from scipy import sparse

    header, frame = read_frame(path)
    if len(header) == 2 and frame[1].dtype.kind not in "fiu":
        if frame.isna().any(axis=None):
            row = int(frame.isna().any(axis=1).to_numpy().argmax())
            raise DataError(f"membership: {path.name}: row {row + 2} names no gene or no term; expected gene,term")
        rows, genes = pd.factorize(frame[0].astype(str))
        columns, terms = pd.factorize(frame[1].astype(str))
        matrix = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(genes), len(terms)))
        matrix.data[:] = 1.0  # duplicates have been added up
        return [str(gene) for gene in genes], matrix
    if frame[0].isna().any():
        row = int(frame[0].isna().to_numpy().argmax())
        raise DataError(
            f"membership: {path.name}: row {row + 2} names no gene; expected its symbol in the first column"
        )
    names, values = [str(gene) for gene in frame[0]], as_numbers(path, frame.iloc[:, 1:])
    wrong = np.argwhere(~np.isfinite(values) | (values < 0))
    if len(wrong):
        row, column = wrong[0]
        raise DataError(
            f"membership: {path.name}: {values[row, column]} for {names[row]!r} in {header[column + 1]!r}; "
            "expected memberships from 0 up, 1 for a plain yes"
        )
    if not values.any():
        raise DataError(f"membership: {path.name}: all memberships are 0; expected 1 where a gene belongs to a term")
    return names, sparse.csr_matrix(values)


def bipartite(matrix: Any, k: int) -> np.ndarray:
    """Return the embedding of `embed_membership`, shape (n_genes, k); as many columns as terms or genes, where fewer.

    The row of a gene in no term is zeros.
    """
    from scipy import sparse

    genes, terms = (np.asarray(matrix.sum(axis=axis)).ravel() for axis in (1, 0))
    scale = [sparse.diags(np.where(sums > 0, 1 / np.sqrt(np.where(sums > 0, sums, 1)), 0)) for sums in (genes, terms)]
    normalised = sparse.csr_matrix(scale[0] @ matrix @ scale[1])
    by_term = normalised.shape[1] < normalised.shape[0]
    product = normalised.T @ normalised if by_term else normalised @ normalised.T
    values, vectors = leading_eigenpairs(product, min(k, *normalised.shape), semidefinite=True)
    singular = np.sqrt(np.maximum(values, 0.0))
    # U S^1/2; from V it is B V S^-1/2.
    scaled = normalised @ vectors / np.sqrt(np.where(singular > 1e-9, singular, np.inf)) if by_term else (
        vectors * np.sqrt(singular)
    )  # fmt: skip
    return fix_signs(np.asarray(scaled))
