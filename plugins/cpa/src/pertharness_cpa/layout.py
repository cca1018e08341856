"""The table for upstream's set-up: names of conditions, doses, and the part of each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pertharness import CONTROL, Skip, targets_of

from pertharness_cpa.counts import read_counts
from pertharness_cpa.settings import MAX_TARGETS, OwnSettings

if TYPE_CHECKING:
    from anndata import AnnData

CONTROL_NAME = "ctrl"
PERTURBATION_KEY, DOSE_KEY, SPLIT_KEY = "condition", "dose_val", "split"
TRAIN, VALID, HELD_OUT = "train", "valid", "ood"


@dataclass(frozen=True)
class Screen:
    """Training cells with counts.

    ``counts`` is CSR float32, shape (n_cells, n_genes); ``totals`` has shape (n_cells,), see ``Counts``.
    """

    counts: Any
    totals: np.ndarray
    conditions: list[str]
    genes: list[str]
    singles: frozenset[str]
    """Genes that were perturbed alone."""
    notes: tuple[str, ...]
    """The source of the counts, and the cells that were left out."""

    def controls(self) -> np.ndarray:
        """Return the rows of the controls."""
        return np.flatnonzero(np.array(self.conditions, dtype=object) == CONTROL_NAME)


def condition_of(perturbation: str) -> str:
    """Return upstream's name of a perturbation: ``ctrl``, ``A``, ``A+B``."""
    return CONTROL_NAME if perturbation == CONTROL else perturbation


def dose_of(condition: str) -> str:
    """Return the doses of a condition as upstream reads them: ``1.0`` for each of its genes, and for the control."""
    return "+".join(["1.0"] * len(condition.split("+")))


def read_screen(train: AnnData, own: OwnSettings) -> Screen:
    """Select the training cells that upstream can train on, and note which were left out.

    Raises
    ------
    Skip
        If the cells have no counts, or fewer than two genes were perturbed alone.
    """
    labels = train.obs["perturbation"].astype(str).to_numpy()
    small = np.array([len(targets_of(label)) <= MAX_TARGETS for label in labels])
    counts = read_counts(train if small.all() else train[small].copy(), own.inexact_cells)
    labels = labels[small][counts.kept]
    singles = frozenset(label for label in labels if len(targets_of(label)) == 1)
    if len(singles) < MAX_TARGETS or CONTROL not in labels:
        raise Skip(
            f"CPA predicts pairs of genes that were perturbed alone; there are {len(singles)} such genes and "
            f"{int((labels == CONTROL).sum())} control cells in the training data"
        )
    many = int((~small).sum())
    notes = [counts.note, *([f"{many} cells with more than {MAX_TARGETS} targets are left out"] if many else [])]
    conditions = [condition_of(label) for label in labels]
    return Screen(counts.matrix, counts.totals, conditions, list(map(str, train.var_names)), singles, tuple(notes))


def why_not(query: str, singles: frozenset[str]) -> str | None:
    """Return why CPA does not answer a query; None if it does.

    It learns one vector per gene, so that of a gene without training cells stays the random one that it began with.
    """
    targets = targets_of(query)
    if len(targets) != MAX_TARGETS:
        return f"CPA predicts pairs of genes; {query!r} has {len(targets)}, and it cannot extrapolate to unseen genes"
    unseen = [target for target in targets if target not in singles]
    return f"{unseen[0]!r} was not perturbed alone in the training data" if unseen else None


def validation_rows(n_cells: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Draw the validation rows of the training cells: shape (n_cells,), True for `share` of them, at least one."""
    is_valid = np.zeros(n_cells, dtype=bool)
    is_valid[rng.permutation(n_cells)[: max(1, round(share * n_cells))]] = True
    return is_valid


def lay_out(screen: Screen, is_valid: np.ndarray, held_out: Sequence[str] = ()) -> AnnData:
    """Return the cells in the form of upstream's ``setup_anndata``, with a row for each held-out condition.

    That row has the split ``ood`` and the counts of the first control. Upstream needs the name of a condition but never
    reads its counts, and one row each does not reveal how many cells the condition has.

    Parameters
    ----------
    is_valid
        Shape (n_cells,).

    Returns
    -------
    AnnData
        Shape (n_cells + len(held_out), n_genes), counts; ``obs``: condition, dose_val, split.
    """
    import pandas as pd
    from anndata import AnnData
    from scipy import sparse

    extra = screen.counts[np.repeat(screen.controls()[:1], len(held_out))]
    conditions = [*screen.conditions, *held_out]
    splits = [*np.where(is_valid, VALID, TRAIN).tolist(), *[HELD_OUT] * len(held_out)]
    columns = {
        PERTURBATION_KEY: conditions,
        DOSE_KEY: [dose_of(condition) for condition in conditions],
        SPLIT_KEY: splits,
    }
    obs = pd.DataFrame(columns, index=[f"cell{i}" for i in range(len(conditions))], dtype=object)
    counts = sparse.csr_matrix(sparse.vstack([screen.counts, extra]) if len(held_out) else screen.counts)
    return AnnData(counts.astype(np.float32), obs=obs, var=pd.DataFrame(index=screen.genes))
