"""Perturbed cells as the published procedure makes them: control cells, with observed values of the targets pasted in.

Values of a training condition come from its training cells. Those of a held-out one come from its held-out cells, by
the oracle, which is why the model is marked on every table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from pertharness import CONTROL, DataError, Skip, targets_of
from pertharness_foundation.counts import TOTAL, check_log_values
from scipy import sparse

from pertharness_scbert.cells import Screen, log2_scaled, token_of

if TYPE_CHECKING:
    from anndata import AnnData

OF_ORACLE = ("perturbation", "total_listed", "detected_listed")
"""Columns of the oracle that are read."""


class Source(Protocol):
    """Where observed values of targets come from."""

    def cells_of(self, label: str) -> np.ndarray:
        """Return the numbers of a condition's cells that express enough genes."""

    def log2_of(self, numbers: np.ndarray, genes: Sequence[str]) -> np.ndarray:
        """Return log2 of 1 + the listed counts per 10 000 of genes in cells, float32, shape (cells, genes)."""


@dataclass(frozen=True)
class TrainingCells:
    """Observed values of the targets of training conditions."""

    screen: Screen

    def cells_of(self, label: str) -> np.ndarray:
        """Return the numbers of a condition's cells."""
        return np.flatnonzero(self.screen.labels == label)

    def log2_of(self, numbers: np.ndarray, genes: Sequence[str]) -> np.ndarray:
        """Return the values of genes in cells; 0 of genes that the data do not have."""
        place = {gene: column for column, gene in enumerate(self.screen.layout.genes)}
        values = self.screen.values_of(numbers, [place[gene] for gene in genes if gene in place])
        return _spread(values, self.screen.totals[numbers], genes, place)


@dataclass(frozen=True)
class HeldOutCells:
    """Observed values of the targets of held-out conditions.

    Attributes
    ----------
    values
        log1p of counts per 10 000 of targets, CSR, shape (n_cells, n_targets).
    targets
        Target -> its column.
    totals, labels
        Sum of counts per 10 000 over the listed genes of each cell, and its perturbation.
    few
        Perturbation -> its cells that express too few genes.
    """

    values: sparse.csr_matrix
    targets: Mapping[str, int]
    totals: np.ndarray
    labels: np.ndarray
    few: Mapping[str, int]

    def cells_of(self, label: str) -> np.ndarray:
        """Return the numbers of a condition's cells."""
        return np.flatnonzero(self.labels == label)

    def log2_of(self, numbers: np.ndarray, genes: Sequence[str]) -> np.ndarray:
        """Return the values of genes in cells; 0 of genes that the data do not have."""
        columns = [self.targets[gene] for gene in genes if gene in self.targets]
        return _spread(self.values[numbers][:, columns].toarray(), self.totals[numbers], genes, self.targets)


def _spread(values: np.ndarray, totals: np.ndarray, genes: Sequence[str], known: Mapping[str, int]) -> np.ndarray:
    """Return the log2 of values, in the columns of those genes that are known; 0 in the others."""
    logs = np.zeros((len(totals), len(genes)), dtype=np.float32)
    scaled = np.expm1(values.astype(np.float64)) * (TOTAL / totals)[:, None]
    logs[:, [gene in known for gene in genes]] = log2_scaled(scaled)
    return logs


def read_held_out(oracle: AnnData | None, min_genes: int) -> HeldOutCells:
    """Return what the oracle says of held-out cells that express enough genes of the list.

    Raises
    ------
    Skip
        If there is no oracle.
    DataError
        If it lacks a column, or has values that are no log1p of counts per 10 000.
    """
    if oracle is None:
        raise Skip(
            "scBERT pastes observed values of the targets of held-out cells (oracle), which this call does not give"
        )
    absent = [name for name in OF_ORACLE if name not in oracle.obs]
    if absent:
        raise DataError(
            f"scbert: the oracle has no obs[{absent[0]!r}] (columns: {', '.join(map(str, oracle.obs)) or 'none'}); "
            "expected totals over the gene list that the card names"
        )
    values = sparse.csr_matrix(oracle.X)
    check_log_values(values)
    labels = oracle.obs["perturbation"].astype(str).to_numpy(dtype=object)
    totals = oracle.obs["total_listed"].to_numpy(dtype=np.float64)
    enough = (oracle.obs["detected_listed"].to_numpy() >= min_genes) & (totals > 0)
    names, counts = np.unique(labels[~enough].astype(str), return_counts=True)
    rows = np.flatnonzero(enough)
    return HeldOutCells(
        values[rows], {str(gene): column for column, gene in enumerate(oracle.var_names)}, totals[rows], labels[rows],
        dict(zip(names.tolist(), counts.tolist(), strict=True)),
    )  # fmt: skip


@dataclass(frozen=True)
class Pool:
    """Control cells of all embeddings, drawn once.

    Attributes
    ----------
    tokens
        uint8, shape (n_cells, length).
    genes
        Gene of the list -> its position.
    n_tokens
        Ids of tokens.
    """

    tokens: np.ndarray
    genes: Mapping[str, int]
    n_tokens: int

    def unlisted(self, label: str) -> list[str]:
        """Return the targets of a perturbation that are not in the gene list."""
        return [] if label == CONTROL else [target for target in targets_of(label) if target not in self.genes]

    def perturbed(self, label: str, source: Source, n_cells: int, seed: int) -> np.ndarray | None:
        """Return the first cells of the pool with the targets' observed values in the place of their own.

        One cell of the condition is drawn for each, with replacement, for all targets; the draws of a condition depend
        on its name and the seed, not on which others there are.

        Returns
        -------
        ndarray or None
            uint8, shape (n_cells, length). None: the condition has no cell to take values from.
        """
        tokens: np.ndarray = self.tokens[:n_cells].copy()
        if label == CONTROL:
            return tokens
        cells, targets = source.cells_of(label), targets_of(label)
        if not len(cells):
            return None
        drawn = np.random.default_rng([seed, *label.encode()]).integers(0, len(cells), len(self.tokens))[:n_cells]
        logs = source.log2_of(cells[drawn], targets)
        tokens[:, [self.genes[target] for target in targets]] = token_of(logs, self.n_tokens)
        return tokens


def draw_controls(screen: Screen, n_cells: int, seed: int) -> np.ndarray:
    """Return the numbers of drawn control cells, with replacement.

    Raises
    ------
    Skip
        If no control cell expresses enough genes.
    """
    controls = np.flatnonzero(screen.labels == CONTROL)
    if not len(controls):
        why = (
            f"{screen.left_out} cells express too few genes of its list; see min_genes"
            if screen.left_out
            else ("the training data have no controls")
        )
        raise Skip(f"scBERT embeds control cells, and there are none ({why})")
    return controls[np.random.RandomState(seed).randint(0, len(controls), n_cells)]
