"""Observed values of held-out cells, for the models whose published protocol is given them: an oracle.

The harness writes them in a job of its own. They are the only values of held-out cells that a model's job can read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness.contract.labels import target_genes
from pertharness.data.canonical import KEY
from pertharness.data.streaming import row_chunks

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from pertharness.data.stored import Stored

LISTED = "_listed"
"""Suffix of the columns over the genes of a model's own list."""


@dataclass(frozen=True)
class _Entries:
    """The target genes of the rows of an oracle, as the structure of a CSR matrix.

    Attributes
    ----------
    indptr, indices
        Of the matrix, whose columns are the target genes.
    columns
        Column of the dataset of each stored value.
    names
        The target genes, sorted.
    """

    indptr: np.ndarray
    indices: np.ndarray
    columns: np.ndarray
    names: list[str]


def observe_targets(
    adata: AnnData | Stored, perturbations: Iterable[str], gene_list: Iterable[str] | None = None
) -> AnnData:
    """Return the expression of the target genes in the cells of some perturbations, and facts on these cells.

    A dataset on disk is read a few megabytes at a time, and of other cells no more than what lies between.

    Parameters
    ----------
    adata
        Canonical dataset of cells, shape (n_cells, n_genes), log1p CP10k.
    perturbations
        Canonical labels; the rows are their cells, in the order of the dataset.
    gene_list
        Genes that the model knows, by exact symbol; None if it has no list.

    Returns
    -------
    AnnData
        Columns: the target genes of the perturbations that the dataset has, sorted. ``X``: CSR float32, log1p CP10k:
        each row stores the values of the targets of its own perturbation, also those that are 0, and no others.
        ``obs``: ``perturbation``; ``total`` (float64): sum of expm1 of the cell's values over the dataset's genes;
        ``smallest`` (float32): its smallest value that is not 0, NaN if there is none; ``detected`` (int64): its number
        of genes above 0. With a list also ``total_listed``, ``smallest_listed`` and ``detected_listed``, over the genes
        of the list that the dataset has.
    """
    import pandas as pd
    from anndata import AnnData
    from scipy import sparse

    from pertharness.data.stored import take_rows

    asked = list(dict.fromkeys(perturbations))
    rows = np.flatnonzero(adata.obs["perturbation"].astype(object).isin(asked).to_numpy())
    obs = adata.obs.iloc[rows]
    labels = obs["perturbation"].astype(object).to_numpy()
    entries = _entries_of(obs, adata.var_names)
    subsets = {"": None} if gene_list is None else {"": None, LISTED: adata.var_names.isin(list(gene_list))}
    facts = {suffix: _Facts(len(rows)) for suffix in subsets}
    values = np.zeros(len(entries.indices), dtype=np.float32)
    for start, chunk in row_chunks(take_rows(adata.X, rows)):
        chunk = _without_duplicates(chunk)
        stop = start + chunk.shape[0]
        part = slice(entries.indptr[start], entries.indptr[stop])
        of_row = np.repeat(np.arange(stop - start), np.diff(entries.indptr[start : stop + 1]))
        if len(of_row):
            values[part] = np.asarray(chunk[of_row, entries.columns[part]]).ravel()
        for suffix, is_counted in subsets.items():
            facts[suffix].take(start, chunk, is_counted)
    index = pd.Index(pd.RangeIndex(len(rows)).astype(str), dtype=object)
    table = pd.DataFrame({"perturbation": pd.Categorical(labels)}, index=index)
    for suffix, each in facts.items():
        table[f"total{suffix}"], table[f"smallest{suffix}"], table[f"detected{suffix}"] = (
            each.total, each.smallest, each.detected,
        )  # fmt: skip
    matrix = sparse.csr_matrix((values, entries.indices, entries.indptr), shape=(len(rows), len(entries.names)))
    names = pd.Index(np.asarray(entries.names, dtype=object), dtype=object)
    fields = {key: adata.uns[KEY][key] for key in ("name", "level", "scale", "modality") if key in adata.uns[KEY]}
    return AnnData(X=matrix, obs=table, var=pd.DataFrame(index=names), uns={KEY: fields})


def _entries_of(obs: pd.DataFrame, genes: pd.Index) -> _Entries:
    """Return which target genes each row of a table has, of those that the dataset has."""
    by_label = {
        label: [gene for gene in targets if gene in genes] for label, targets in target_genes(obs).items()
    }  # fmt: skip
    names = sorted({gene for targets in by_label.values() for gene in targets})
    places = {gene: at for at, gene in enumerate(names)}
    number = {label: code for code, label in enumerate(by_label)}
    lengths = np.array([len(by_label[label]) for label in number], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    flat = np.array([places[gene] for label in number for gene in sorted(by_label[label])], dtype=np.int64)
    of_row = obs["perturbation"].astype(object).map(number).to_numpy(dtype=np.int64)
    indptr = np.concatenate([[0], np.cumsum(lengths[of_row])]).astype(np.int64)
    within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], np.diff(indptr))
    indices = flat[np.repeat(starts[of_row], lengths[of_row]) + within]
    in_dataset = np.asarray(genes.get_indexer(names), dtype=np.int64)
    return _Entries(indptr, indices, in_dataset[indices], names)


def _without_duplicates(chunk: Any) -> Any:
    """Return a chunk in which no row has a column twice; one in memory may be part of the dataset, and stays."""
    if isinstance(chunk, np.ndarray) or chunk.has_canonical_format:
        return chunk
    whole = chunk.copy()
    whole.sum_duplicates()
    return whole


class _Facts:
    """Total, smallest value and number of detected genes of each cell, shape (n_cells,)."""

    def __init__(self, n_cells: int) -> None:
        self.total = np.zeros(n_cells)
        self.smallest = np.full(n_cells, np.nan, dtype=np.float32)
        self.detected = np.zeros(n_cells, dtype=np.int64)

    def take(self, start: int, chunk: Any, is_counted: np.ndarray | None) -> None:
        """Take in the cells of a chunk, of which the first has the position `start`.

        Parameters
        ----------
        is_counted
            Which genes count, shape (n_genes,); None for all.
        """
        values, rows = _positive_values(chunk, is_counted)
        at = slice(start, start + chunk.shape[0])
        self.total[at] = np.bincount(rows, np.expm1(values.astype(np.float64)), minlength=chunk.shape[0])
        self.detected[at] = np.bincount(rows, minlength=chunk.shape[0])
        firsts = np.flatnonzero(np.diff(rows, prepend=-1))
        if len(firsts):
            self.smallest[start + rows[firsts]] = np.minimum.reduceat(values, firsts)


def _positive_values(chunk: Any, is_counted: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of a chunk that are not 0, and the row of each, in the order of rows."""
    if isinstance(chunk, np.ndarray):
        is_taken = chunk != 0 if is_counted is None else (chunk != 0) & is_counted
        return chunk[is_taken], np.nonzero(is_taken)[0]
    rows = np.repeat(np.arange(chunk.shape[0]), np.diff(chunk.indptr))
    is_taken = chunk.data != 0
    if is_counted is not None:
        is_taken &= is_counted[chunk.indices]
    return (chunk.data, rows) if is_taken.all() else (chunk.data[is_taken], rows[is_taken])
