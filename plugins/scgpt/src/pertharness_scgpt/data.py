"""What the network is given: cells and genes that it can use, pairs of cells, and flags of perturbed genes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pertharness import CONTROL, Skip, targets_of
from pertharness_foundation.cells import read_cells as filled_cells
from pertharness_foundation.genes import GeneMatch, GeneTable, match_genes

from pertharness_scgpt.settings import CtrlPairs, UnknownGenes
from pertharness_scgpt.vocabulary import Vocabulary

if TYPE_CHECKING:
    from anndata import AnnData

MOST_TARGETS = 2
"""The published procedure knows single and double perturbations."""
NO_TARGET = -1
_LEFT_OUT = -2
"""In the positions of a cell whose perturbation cannot be used."""


@dataclass(frozen=True)
class Genes:
    """The genes of the data, and those that the network is given.

    Attributes
    ----------
    names
        All genes of the data.
    columns
        Columns of the network's genes in the data, shape (n_genes,).
    tokens
        Their rows in the table of embeddings, int64, shape (n_genes,).
    missing
        Gene -> why it is not predicted.
    note
        A line for the record.
    """

    names: tuple[str, ...]
    columns: np.ndarray
    tokens: np.ndarray
    missing: Mapping[str, str]
    note: str

    def positions(self) -> dict[str, int]:
        """Return the position of each gene among those of the network; the first one of a symbol that comes twice."""
        positions: dict[str, int] = {}
        for position, column in enumerate(self.columns):
            positions.setdefault(self.names[column], position)
        return positions


def choose_genes(
    names: Sequence[str], ensembl_ids: Sequence[str] | None, vocabulary: Vocabulary, unknown: UnknownGenes,
    table: GeneTable | None = None,
) -> Genes:  # fmt: skip
    """Return the genes that the network is given.

    The published code gives a gene outside the vocabulary the token of padding, and predicts it like any other.

    Raises
    ------
    DataError
        If no gene of the data is in the vocabulary.
    """
    match: GeneMatch = match_genes(names, vocabulary.genes(), ensembl_ids=ensembl_ids, table=table)
    tokens = match.tokens(vocabulary.rows, unknown=vocabulary.padding)
    if unknown == "padding":
        shared = f"; {len(match.lost)} share the token of padding and are predicted" if match.lost else ""
        return Genes(tuple(names), np.arange(len(names)), tokens, {}, match.note() + shared)
    columns = np.flatnonzero(match.known)
    missing = dict.fromkeys(match.lost, "it is not in the vocabulary of scGPT")
    return Genes(tuple(names), columns, tokens[columns], missing, match.note())


def why_not(targets: Sequence[str], genes: Genes, positions: Mapping[str, int]) -> str:
    """Return why the network cannot be given a perturbation; empty if it can.

    Parameters
    ----------
    positions
        Of `genes`.
    """
    if len(targets) > MOST_TARGETS:
        return f"it has {len(targets)} targets, and scGPT takes at most {MOST_TARGETS}"
    for target in targets:
        if target in genes.missing:
            return f"{target} is not in the vocabulary of scGPT"
        if target not in positions:
            return f"{target} is not among the genes of the data, so that scGPT cannot be told that it is perturbed"
    return ""


@dataclass(frozen=True)
class Cells:
    """Cells as the network is given them: ``expression`` CSR float32, shape (n_cells, n_genes), with their labels."""

    expression: Any
    labels: np.ndarray

    def controls(self) -> np.ndarray:
        """Return the rows of the controls."""
        return np.flatnonzero(self.labels == CONTROL)


def read_cells(adata: AnnData, genes: Genes, notes: list[str], what: str = "training") -> Cells:
    """Return the cells of which something was measured, with the genes of the network.

    Parameters
    ----------
    notes
        Gets a line if cells are left out.
    what
        Which cells these are, for that line.

    Raises
    ------
    DataError
        If values are no log1p of counts per 10 000.
    """
    expression, labels = filled_cells(adata, notes, what)
    if len(genes.columns) < expression.shape[1]:
        expression = expression[:, genes.columns]
    return Cells(expression, labels)


@dataclass(frozen=True)
class Pairs:
    """Pairs of cells: what the network is given, and what it is to predict.

    Attributes
    ----------
    source, observed
        CSR float32, shape (n, n_genes): the controls, and the cells of which `outputs` are rows.
    inputs, outputs
        Rows, shape (n_pairs,).
    targets
        Positions of the perturbed genes, shape (n_pairs, 2), `NO_TARGET` where there are fewer.
    """

    source: Any
    observed: Any
    inputs: np.ndarray
    outputs: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.inputs)


def pair_cells(
    labels: np.ndarray, rng: np.random.RandomState, n_controls: int, control: str = CONTROL
) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of cells: each perturbed cell with a drawn control, each control with itself.

    Conditions come in the order of their first cells, cells of a condition in the order of the data; a control is drawn
    for each perturbed cell, with replacement.

    Parameters
    ----------
    labels
        Of the cells, shape (n_cells,).
    n_controls
        Number of controls to draw from. Where `labels` has controls, these are all of them, in this order.

    Returns
    -------
    tuple
        Of each pair the input, a number of a control, and the output, a row of `labels`.
    """
    _, first, groups = np.unique(labels.astype(str), return_index=True, return_inverse=True)
    outputs = np.lexsort((np.arange(len(labels)), first[groups]))
    is_control = labels[outputs] == control
    inputs = np.empty(len(labels), dtype=np.int64)
    inputs[is_control] = np.arange(int(is_control.sum()))
    inputs[~is_control] = rng.randint(0, n_controls, int((~is_control).sum()))
    return inputs, outputs


def positions_of(labels: np.ndarray, genes: Genes, left_out: dict[str, str]) -> np.ndarray:
    """Return the positions of each cell's targets, shape (n_cells, 2); `_LEFT_OUT` for labels that are left out.

    Labels that cannot be used are added to `left_out`, with the reason.
    """
    positions = genes.positions()
    rows: dict[str, list[int]] = {}
    for label in dict.fromkeys(labels):
        targets = targets_of(str(label))
        if reason := why_not(targets, genes, positions):
            left_out[str(label)] = reason
            rows[label] = [_LEFT_OUT] * MOST_TARGETS
        else:
            columns = [positions[target] for target in targets]
            rows[label] = columns + [NO_TARGET] * (MOST_TARGETS - len(columns))
    return np.array([rows[label] for label in labels], dtype=np.int64).reshape(len(labels), MOST_TARGETS)


class Pairing:
    """Makes the pairs of a part of the data, anew whenever it is asked.

    Parameters
    ----------
    controls
        CSR, shape (n_controls, n_genes), of the training side.
    cells
        The cells to predict.
    genes
        Those of the network.
    ctrl_pairs
        What becomes of controls among the cells.
    left_out
        Gets the labels that cannot be used, with the reason.
    """

    def __init__(
        self, controls: Any, cells: Cells, genes: Genes, ctrl_pairs: CtrlPairs, left_out: dict[str, str]
    ) -> None:
        self._controls, self._cells, self._ctrl_pairs = controls, cells, ctrl_pairs
        self._positions = positions_of(cells.labels, genes, left_out)

    def draw(self, rng: np.random.RandomState) -> Pairs:
        """Return pairs of all cells that can be used."""
        n_controls = self._controls.shape[0]
        inputs, outputs = pair_cells(self._cells.labels, rng, n_controls)
        is_control = self._cells.labels[outputs] == CONTROL
        if self._ctrl_pairs == "random":
            inputs[is_control] = rng.randint(0, n_controls, int(is_control.sum()))
        used = self._positions[outputs][:, 0] != _LEFT_OUT
        if self._ctrl_pairs == "left_out":
            used &= ~is_control
        inputs, outputs = inputs[used], outputs[used]
        return Pairs(self._controls, self._cells.expression, inputs, outputs, self._positions[outputs])


def refuse_too_few(pairs: Pairs, batch_size: int, left_out: Mapping[str, str]) -> None:
    """Raise Skip if there is nothing to train on."""
    if not (pairs.targets != NO_TARGET).any():
        if not left_out:
            raise Skip("scGPT learns from perturbed cells, and the training data have controls alone")
        first, reason = next(iter(left_out.items()))
        raise Skip(f"scGPT can be given none of the training perturbations (first: {first!r}: {reason})")
    if len(pairs) < batch_size:
        raise Skip(
            f"{len(pairs)} training cells are less than one batch of {batch_size}, and what is no full batch is left "
            "out; set a smaller batch_size"
        )
