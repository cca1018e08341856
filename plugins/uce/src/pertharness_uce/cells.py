"""The cells of a condition: control cells with observed values of its target genes written over their counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pertharness import Skip
from pertharness_foundation.counts import TOTAL, recover_counts, whole_counts
from scipy import sparse

from pertharness_uce.settings import ControlDraws, CountRounding, Filtering, PastedValues


@dataclass(frozen=True)
class Observed:
    """Values of the target genes in the cells of a condition.

    Attributes
    ----------
    columns
        Of the targets in the data, shape (n_targets,).
    values
        log1p CP10k, float32, shape (n_cells, n_targets).
    smallest
        Smallest value above 0 of each cell over all genes, float32, shape (n_cells,).
    """

    columns: np.ndarray
    values: np.ndarray
    smallest: np.ndarray

    def counts(self) -> np.ndarray:
        """Return the counts of the targets, float64, by the rule of `pertharness_foundation.counts.recover_counts`."""
        rates, smallest = (np.expm1(logs).astype(np.float64) / TOTAL for logs in (self.values, self.smallest[:, None]))
        counts: np.ndarray = rates / smallest
        return counts

    def silent(self) -> list[int]:
        """Return the columns of the targets that none of the cells expresses."""
        columns: list[int] = self.columns[~self.values.any(axis=0)].tolist()
        return columns


def observe(expression: Any, columns: np.ndarray) -> Observed:
    """Return the values of some genes in cells that are not empty; `expression` as of ``read_cells``."""
    smallest = np.minimum.reduceat(expression.data, expression.indptr[:-1])
    return Observed(columns, expression[:, columns].toarray(), smallest)


def draw_pool(controls: Any, size: int, draws: ControlDraws, rng: np.random.RandomState) -> Any:
    """Return the counts of the control cells that all conditions are made of, CSR float64, shape (n_pool, n_genes).

    Parameters
    ----------
    controls
        As ``read_cells`` of the library returns them.
    draws
        ``replacement``: `size` cells, some of them several times; ``distinct``: each once, fewer if there are fewer.

    Raises
    ------
    Skip
        If there is no control cell.
    """
    n_controls = controls.shape[0]
    if not n_controls:
        raise Skip("UCE makes the cells of a condition of control cells, and there are none, or all of them are empty")
    if draws == "replacement":
        rows = rng.choice(n_controls, size)
    else:
        rows = rng.choice(n_controls, min(size, n_controls), replace=False)
    return recover_counts(controls[rows])


def paste(pool: Any, observed: Observed, pasted: PastedValues, rng: np.random.RandomState) -> Any:
    """Return the counts of the pool with values of drawn cells of the condition in the columns of its targets.

    The targets of a cell get the values of one cell. The published code writes log values in the place of counts
    [quirk], so that a gene with many counts seems to have 1 to 5.
    """
    rows = rng.choice(len(observed.values), pool.shape[0])
    values = observed.values if pasted == "log" else observed.counts()
    kept = pool.copy()
    kept.data[np.isin(kept.indices, observed.columns)] = 0
    kept.eliminate_zeros()
    n_targets = len(observed.columns)
    places = np.repeat(np.arange(pool.shape[0]), n_targets), np.tile(observed.columns, pool.shape[0])
    written = sparse.csr_matrix((values[rows].astype(np.float64).ravel(), places), shape=pool.shape)
    return sparse.csr_matrix(kept + written)


@dataclass(frozen=True)
class Preparation:
    """How counts become what sentences are drawn from.

    Attributes
    ----------
    columns
        Columns of the genes that the network knows.
    """

    columns: np.ndarray
    filtering: Filtering
    rounding: CountRounding
    min_cells: int
    min_genes: int


@dataclass(frozen=True)
class Left:
    """How many cells were made, and why some of them are left out."""

    made: int = 0
    poor: int = 0
    silent: int = 0

    def __add__(self, other: Left) -> Left:
        return Left(self.made + other.made, self.poor + other.poor, self.silent + other.silent)

    def note(self, min_genes: int) -> str:
        """Return a line for the record; empty if no cell is left out."""
        reasons = {
            f"have fewer than {min_genes} expressed genes": self.poor,
            "have no gene with a token": self.silent,
        }
        parts = [f"{number} {reason}" for reason, number in reasons.items() if number]
        return f"of {self.made} made, {' and '.join(parts)}, and are left out" if parts else ""


def prepare(counts: Any, how: Preparation) -> tuple[Any, Left]:
    """Return whole counts of the genes that the network knows, CSR int64, and how many cells are left out.

    With ``filtering = "sampled"``, genes expressed in few of these cells go first, then cells with few of the genes
    that are left, as published [quirk]: a target that few of the cells express is taken away.
    """
    n_cells, n_genes = counts.shape
    counts = counts if counts.has_sorted_indices else counts.sorted_indices()
    rows = np.repeat(np.arange(n_cells), np.diff(counts.indptr))
    kept = counts.data > 0
    poor = np.zeros(n_cells, dtype=bool)
    if how.filtering == "sampled":
        expressed = np.bincount(counts.indices[kept], minlength=n_genes)
        kept &= (expressed >= how.min_cells)[counts.indices]
        poor = np.bincount(rows[kept], minlength=n_cells) < how.min_genes
        kept &= ~poor[rows]
    positions = np.full(n_genes, -1)
    positions[how.columns] = np.arange(len(how.columns))
    whole = whole_counts(counts.data, how.rounding)
    kept &= (whole > 0) & (positions >= 0)[counts.indices]
    sizes = np.bincount(rows[kept], minlength=n_cells)
    heard = sizes > 0
    bounds = np.concatenate([[0], sizes[heard].cumsum()])
    shape = (int(heard.sum()), len(how.columns))
    made = sparse.csr_matrix((whole[kept], positions[counts.indices[kept]], bounds), shape=shape)
    return made, Left(n_cells, int(poor.sum()), int((~heard & ~poor).sum()))


def columns_of(targets: Sequence[str], column_of: dict[str, int]) -> np.ndarray:
    """Return the columns of targets, all of which are genes of the data."""
    return np.array([column_of[target] for target in targets], dtype=np.int64)
