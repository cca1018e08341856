"""Cells as the network takes them: genes in the order of the gene list, totals, and the expressed positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pertharness import DataError, Skip

from pertharness_scfoundation.network import Tokens

if TYPE_CHECKING:
    from anndata import AnnData
    from pertharness_foundation.genes import GeneTable

MULTIPLE = 16
"""Positions of a batch are padded to a multiple of it, as published; padding changes no number."""


@dataclass(frozen=True)
class Columns:
    """The genes of the list among those of the data.

    Attributes
    ----------
    genes
        For each gene of the list the name that it has in the data, in the order of the list.
    note
        How they were matched, a line for the record.
    listed
        Name in the data -> name in the list, where they differ.
    """

    genes: tuple[str, ...]
    note: str
    listed: Mapping[str, str]

    def positions(self, names: Sequence[str]) -> np.ndarray:
        """Return the columns of the genes in data with these gene names, shape (n_genes,).

        Raises
        ------
        DataError
            If one is not there.
        """
        place = {str(name): column for column, name in enumerate(names)}
        absent = [gene for gene in self.genes if gene not in place]
        if absent:
            raise DataError(f"scfoundation: the gene {absent[0]!r} of the training data is not in the data to predict")
        return np.array([place[gene] for gene in self.genes], dtype=np.int64)


def match_columns(train: AnnData, genes: Sequence[str], table: GeneTable | None) -> Columns:
    """Return which gene of the data is which of the gene list; all of the list have to be there.

    Raises
    ------
    Skip
        If the data lack genes of the list; the message has the numbers.
    """
    from pertharness_foundation.genes import match_genes

    ids = [str(text) for text in train.var["ensembl_id"]] if "ensembl_id" in train.var else None
    names = [str(name) for name in train.var_names]
    match = match_genes(names, genes, ensembl_ids=ids, table=table)
    in_data = {known: name for name, known in zip(match.genes, match.names, strict=True) if known is not None}
    absent = [gene for gene in genes if gene not in in_data]
    if absent:
        raise Skip(
            f"scFoundation needs all {len(genes)} genes of its list, and the data have {len(genes) - len(absent)} of "
            f"them ({len(names)} genes in all); {len(absent)} are absent, such as {', '.join(absent[:3])}"
        )
    listed = {name: gene for gene, name in in_data.items() if name != gene}
    return Columns(tuple(in_data[gene] for gene in genes), match.note(), listed)


@dataclass(frozen=True)
class Cells:
    """Cells in the order of the gene list.

    Attributes
    ----------
    expression
        log1p of counts per 10 000, CSR float32 with sorted columns and no stored zeros, shape (n_cells, n_genes).
    totals
        Counts of each cell, shape (n_cells,), float64.
    labels
        Perturbation of each cell, shape (n_cells,).
    """

    expression: Any
    totals: np.ndarray
    labels: np.ndarray

    def take(self, rows: np.ndarray) -> Cells:
        """Return some of the cells, in the order of `rows`."""
        return Cells(self.expression[rows], self.totals[rows], self.labels[rows])

    def dense(self, rows: np.ndarray) -> np.ndarray:
        """Return the expression of some cells, shape (len(rows), n_genes), float32."""
        values: np.ndarray = self.expression[rows].toarray()
        return values


def read_cells(adata: AnnData, columns: Columns) -> Cells:
    """Return the cells of a data set in the order of the gene list; those without counts are left out.

    Raises
    ------
    DataError
        If a value is no log1p of counts per 10 000.
    """
    from pertharness_foundation.counts import check_log_values
    from scipy import sparse

    expression = sparse.csr_matrix(adata.X, dtype=np.float32)[:, columns.positions(adata.var_names)]
    expression.eliminate_zeros()
    expression.sort_indices()
    check_log_values(expression)
    totals = read_totals(adata)
    labels = adata.obs["perturbation"].astype(str).to_numpy(dtype=object)
    full = np.flatnonzero((totals >= 1) & (np.diff(expression.indptr) > 0))
    return Cells(expression, totals, labels).take(full)


def read_totals(adata: AnnData) -> np.ndarray:
    """Return the counts of each cell: ``obs["total_counts"]``, or else those that its values lead back to."""
    from pertharness_foundation.counts import recover_counts

    if "total_counts" in adata.obs:
        totals: np.ndarray = adata.obs["total_counts"].to_numpy(dtype=np.float64)
        if np.isfinite(totals).all():
            return totals
    return np.asarray(recover_counts(adata.X).sum(axis=1)).ravel()


def extend(expression: Any, totals: np.ndarray) -> Any:
    """Return the values of some cells with those of the two last positions: log10 of the total, twice.

    The first is that of the total asked for, the second that of the cell's own; the published procedure has them equal.

    Parameters
    ----------
    expression
        CSR, shape (cells, n_genes).
    totals
        Counts of each cell.

    Returns
    -------
    csr_matrix
        Shape (cells, n_genes + 2), float32.
    """
    from scipy import sparse

    logs = np.log10(totals).astype(np.float32)
    return sparse.hstack([expression, sparse.csr_matrix(np.stack([logs, logs], axis=1))], format="csr")


def tokenise(values: Any, pad_token: float) -> Tokens:
    """Return the expressed positions of some cells, in ascending order, padded to a multiple of 16.

    Parameters
    ----------
    values
        Cells x positions, CSR with sorted columns; what is not above 0 is no token.
    pad_token
        The value that stands for padding; its position is the number of positions.
    """
    import torch

    positive = values.data > 0
    rows = np.repeat(np.arange(values.shape[0]), np.diff(values.indptr))[positive]
    counts = np.bincount(rows, minlength=values.shape[0])
    places = np.arange(len(rows)) - np.repeat(np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    width = MULTIPLE * -(-int(counts.max(initial=0)) // MULTIPLE)
    expressed = np.full((values.shape[0], width), pad_token, dtype=np.float32)
    positions = np.full((values.shape[0], width), values.shape[1], dtype=np.int64)
    expressed[rows, places] = values.data[positive]
    positions[rows, places] = values.indices[positive]
    padding = np.arange(width) >= counts[:, None]
    return Tokens(*(torch.from_numpy(array) for array in (expressed, positions, padding)))
