"""The two sides of the linear model: what its slots G and P hold, and which rows of the data that leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pertharness import CONTROL, Skip

from pertharness_baselines.components import principal_components

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@dataclass(frozen=True)
class Side:
    """An embedding as the linear model uses it.

    Attributes
    ----------
    values
        Shape (n_rows, n_dimensions), float64; sparse if it has no more numbers than rows, as an identity.
    rows
        Label -> its row.
    lack
        Why a label has no row, in words that follow its name.
    """

    values: Any
    rows: dict[str, int]
    lack: str = "has no row in the embedding P"

    def of(self, labels: list[str]) -> Any:
        """Return the rows of these labels; the control's are zeros where it has none, as in the authors' code."""
        from scipy import sparse

        rows = self.values[[self.rows.get(label, 0) for label in labels]]
        present = np.array([label in self.rows for label in labels], dtype=float)
        if present.all():
            return rows
        return sparse.csr_matrix(sparse.diags(present) @ rows) if sparse.issparse(rows) else rows * present[:, None]


def both_sides(train: AnnData, embeddings: Mapping[str, pd.DataFrame], k: int) -> tuple[Side, Side]:
    """Return G and P; one that no slot holds is of the training data.

    Then G are the scores of the first `k` principal components of the training means with the genes as observations,
    and P the rows of these that belong to the perturbed genes.
    """
    genes = [str(gene) for gene in train.var_names]
    own = Side(np.zeros((0, 0)), {})
    if not {"G", "P"} <= set(embeddings):
        rows = {gene: row for row, gene in enumerate(genes)}
        own = Side(principal_components(train.X.T, k), rows, "is not among the genes, so it has no embedding")
    gene = side_of(embeddings["G"]) if "G" in embeddings else own
    perturbation = side_of(embeddings["P"]) if "P" in embeddings else own
    return gene, perturbation


def side_of(table: pd.DataFrame) -> Side:
    """Return a side of a table with a row per label."""
    from scipy import sparse

    values = table.to_numpy()
    small = np.count_nonzero(values) <= len(values)
    matrix = sparse.csr_matrix(values.astype(float)) if small else values.astype(float)
    return Side(matrix, {str(label): row for row, label in enumerate(table.index)})


def genes_with_rows(train: AnnData, gene: Side) -> np.ndarray:
    """Return which genes of the data have a row in G, shape (n_genes,).

    Raises
    ------
    Skip
        If fewer than two have one; the authors' code stops there too.
    """
    covered = np.array([name in gene.rows for name in train.var_names])
    if covered.sum() < 2:
        raise Skip(f"the embedding G has rows for {covered.sum()} of {len(covered)} genes; expected two at least")
    return covered


def training_rows(train: AnnData, perturbation: Side) -> list[int]:
    """Return the rows of the training perturbations that have a row in P, the control apart.

    Raises
    ------
    Skip
        If there is none: nothing to learn from.
    """
    labels = [str(label) for label in train.obs["perturbation"]]
    rows = [row for row, label in enumerate(labels) if label in perturbation.rows and label != CONTROL]
    if not rows:
        first = next((label for label in labels if label != CONTROL), None)
        raise Skip(
            f"no training perturbation has an embedding; {first!r} {perturbation.lack}"
            if first
            else "the training data holds no perturbation but the control"
        )
    return rows
