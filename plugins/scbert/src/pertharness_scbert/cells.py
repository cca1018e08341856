"""Cells as the network takes them: genes in the order of its list, log2 of 1 + counts per 10 000, and their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pertharness import DataError
from pertharness_foundation.counts import TOTAL, check_log_values
from scipy import sparse

if TYPE_CHECKING:
    from anndata import AnnData

CHUNK = 2_000
"""Cells that are read at a time."""


@dataclass(frozen=True)
class Layout:
    """Where the genes of the data are in the gene list.

    Attributes
    ----------
    genes
        Genes of the data, in their order.
    listed
        Position of each in the list, -1 where it has none, shape (n_genes of the data,).
    n_listed
        Genes of the list.
    """

    genes: tuple[str, ...]
    listed: np.ndarray
    n_listed: int

    def note(self) -> str:
        """Return a line for the record."""
        shared = int((self.listed >= 0).sum())
        return (
            f"genes: {shared} of the {self.n_listed} of scBERT's list are in the data, by exact symbol; the other "
            f"{self.n_listed - shared} are taken for unexpressed; {len(self.genes) - shared} genes of the data are not "
            "in the list"
        )


def lay_out_genes(names: Sequence[str], genes: Sequence[str]) -> Layout:
    """Return where the genes of the data are in a gene list; by exact symbol, of equal names the first.

    Raises
    ------
    DataError
        If no gene is in the list.
    """
    from pertharness_foundation.genes import match_genes

    position: dict[str, int] = {}
    for number, gene in enumerate(genes):
        position.setdefault(gene, number)
    listed = np.array([position.pop(str(name), -1) for name in names], dtype=np.int64)
    if not (listed >= 0).any():
        match_genes([str(name) for name in names], genes)  # its message has an example of both sides
        raise DataError("scbert: no gene of the data is in the gene list by its exact symbol")
    return Layout(tuple(str(name) for name in names), listed, len(genes))


@dataclass(frozen=True)
class Screen:
    """Cells that express enough genes, still in the order of the data's genes.

    Attributes
    ----------
    values
        log1p of counts per 10 000 as the data have them, dense or CSR, all cells.
    rows
        The cells that express enough genes, among those of `values`.
    totals
        Sum of counts per 10 000 over the listed genes, shape (len(rows),), float64.
    labels
        Perturbation of each, shape (len(rows),).
    left_out
        Cells that do not.
    """

    layout: Layout
    values: Any
    rows: np.ndarray
    totals: np.ndarray
    labels: np.ndarray
    left_out: int

    def logs(self, numbers: np.ndarray) -> Any:
        """Return the input of some cells, by their numbers in `rows`; see `log2_rates`."""
        return log2_rates(listed_rates(self.values[self.rows[numbers]], self.layout), self.totals[numbers])

    def values_of(self, numbers: np.ndarray, columns: Sequence[int]) -> np.ndarray:
        """Return log1p of counts per 10 000 of some genes of the data in some cells."""
        part = self.values[self.rows[numbers]][:, list(columns)]
        return np.asarray(part.toarray() if sparse.issparse(part) else part)


def read_screen(adata: AnnData, layout: Layout, min_genes: int) -> Screen:
    """Return the cells that express at least so many genes of the list.

    Raises
    ------
    DataError
        If a value is no log1p of counts per 10 000.
    """
    values = adata.X.tocsr() if sparse.issparse(adata.X) else np.asarray(adata.X)
    totals, detected = np.zeros(adata.n_obs), np.zeros(adata.n_obs, dtype=np.int64)
    for start in range(0, adata.n_obs, CHUNK):
        chunk = values[start : start + CHUNK]
        check_log_values(chunk)
        rates = listed_rates(chunk, layout)
        totals[start : start + CHUNK] = _row_sums(rates)
        detected[start : start + CHUNK] = np.diff(rates.indptr)
    rows = np.flatnonzero(detected >= min_genes)
    labels = adata.obs["perturbation"].astype(str).to_numpy(dtype=object)
    return Screen(layout, values, rows, totals[rows], labels[rows], adata.n_obs - len(rows))


def listed_rates(values: Any, layout: Layout) -> sparse.csr_matrix:
    """Return counts per 10 000 of the genes of the list.

    Parameters
    ----------
    values
        Their log1p, dense or CSR, shape (n_cells, genes of the data).

    Returns
    -------
    csr_matrix
        float64, shape (n_cells, genes of the list), no zero stored, columns in the order of the data.
    """
    matrix = sparse.csr_matrix(values)
    positions = layout.listed[matrix.indices]
    kept = (positions >= 0) & (matrix.data > 0)
    indptr = np.concatenate([[0], np.cumsum(kept)])[matrix.indptr]
    rates = np.expm1(matrix.data[kept].astype(np.float64))
    return sparse.csr_matrix((rates, positions[kept], indptr), shape=(matrix.shape[0], layout.n_listed))


def log2_rates(rates: sparse.csr_matrix, totals: np.ndarray, target: float = TOTAL) -> sparse.csr_matrix:
    """Return log2 of 1 + the rates, scaled to a total.

    What the rates are measured in cancels: counts, recovered counts and counts per 10 000 give the same.

    Parameters
    ----------
    totals
        Sum of each row, above 0.
    target
        What rows are scaled to.

    Returns
    -------
    csr_matrix
        float32, of the shape of `rates`.
    """
    scale = np.repeat(target / totals, np.diff(rates.indptr))
    logs = log2_scaled(rates.data * scale)
    return sparse.csr_matrix((logs, rates.indices, rates.indptr), shape=rates.shape)


def log2_scaled(scaled: np.ndarray) -> np.ndarray:
    """Return log2 of 1 + rates that are scaled to the total, float32."""
    logs: np.ndarray = (np.log1p(scaled) / np.log(2)).astype(np.float32)
    return logs


def token_of(logs: np.ndarray, n_tokens: int) -> np.ndarray:
    """Return the token of values: cut off to whole numbers, at most the last but one token; uint8, of their shape."""
    tokens: np.ndarray = np.minimum(logs, n_tokens - 2).astype(np.uint8)
    return tokens


def tokenise(logs: sparse.csr_matrix, n_tokens: int) -> np.ndarray:
    """Return the tokens of some cells, with the last token 0 of each.

    Parameters
    ----------
    logs
        As `log2_rates` returns them.

    Returns
    -------
    ndarray
        uint8, shape (n_cells, genes of the list + 1).
    """
    tokens = np.zeros((logs.shape[0], logs.shape[1] + 1), dtype=np.uint8)
    tokens[np.repeat(np.arange(logs.shape[0]), np.diff(logs.indptr)), logs.indices] = token_of(logs.data, n_tokens)
    return tokens


def _row_sums(matrix: sparse.csr_matrix) -> np.ndarray:
    return np.asarray(matrix.sum(axis=1)).ravel()
