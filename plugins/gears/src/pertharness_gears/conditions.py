"""The input of cell-gears: cells, its names of perturbations, and which perturbations it can use."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pertharness import CONTROL, DataError, Skip, targets_of

if TYPE_CHECKING:
    from anndata import AnnData

UPSTREAM_CONTROL = "ctrl"
MOST_TARGETS = 2
"""Most targets of a perturbation: cell-gears reads two genes of a name and ignores the others."""
FEWEST_CELLS = 2
"""Fewest cells of a perturbation: the differential expression test of cell-gears fails on a single cell."""
CELL_TYPE = "cells"


@dataclass(frozen=True)
class Plan:
    """Perturbations that take part, in the order of the data, and the reasons why others do not.

    Attributes
    ----------
    train, val
        Perturbations; the control is in `train`.
    left_out
        Perturbation -> reason.
    notes
        What a reader of the results should know of it, a line each.
    """

    train: list[str]
    val: list[str]
    left_out: dict[str, str]
    notes: list[str]


def upstream_name(perturbation: str) -> str:
    """Return cell-gears' name: ``ctrl``, ``A+ctrl``, ``A+B``."""
    targets = targets_of(perturbation)
    return "+".join(targets if len(targets) > 1 else [*targets, UPSTREAM_CONTROL])


def why_not(perturbation: str, genes: Set[str]) -> str:
    """Return why cell-gears cannot use a perturbation, given the genes of the GO graph; empty if it can."""
    targets = targets_of(perturbation)
    if len(targets) > MOST_TARGETS:
        return f"it has {len(targets)} targets, and GEARS takes at most {MOST_TARGETS}"
    absent = [target for target in targets if target not in genes]
    return f"{' and '.join(absent)} {'are' if len(absent) > 1 else 'is'} not in the GO graph" if absent else ""


def plan_conditions(train: AnnData, val: AnnData | None, genes: Set[str], batch_size: int, seed: int) -> Plan:
    """Choose the perturbations that take part.

    If there are no validation data, one training perturbation, drawn from the seed, replaces them. Without any,
    cell-gears ends with an error; with only controls, it silently keeps the untrained model.

    Raises
    ------
    Skip
        If too little is left to train on.
    """
    left_out: dict[str, str] = {}
    n_train, n_val = _counts(train), _counts(val) if val is not None else {}
    usable = [[label for label in counts if _takes_part(label, counts, genes, left_out)] for counts in (n_train, n_val)]
    trained, validated = usable[0], [label for label in usable[1] if label not in n_train]
    perturbed = [label for label in trained if label != CONTROL]
    if CONTROL not in trained:
        raise Skip(f"there are {n_train.get(CONTROL, 0)} control cells; GEARS needs at least {FEWEST_CELLS}")
    if len(perturbed) + len(validated) < 2 or not perturbed:
        first, reason = next(iter(left_out.items()), ("none", "there are no more"))
        in_graph = (
            f"{len(genes)} genes, such as {', '.join(sorted(genes)[:3])}" if genes else "none of the data's genes"
        )
        raise Skip(
            f"GEARS can use {len(perturbed)} of {len(n_train) - 1} training perturbations; it needs one, and one "
            f"more to validate (left out: {first!r}: {reason}). The graph has {in_graph}: name targets and genes by "
            "the symbols of gene2go, or name another file: gears[gene2go=/PATH/TO/FILE]"
        )
    notes = []
    if left_out:
        first, reason = next(iter(left_out.items()))
        n_given = len({*n_train, *n_val} - {CONTROL})
        notes.append(f"{len(left_out)} of {n_given} training perturbations are left out (first: {first!r}: {reason})")
    if not validated:
        held_out = perturbed[int(np.random.default_rng(seed).integers(len(perturbed)))]
        trained, validated = [label for label in trained if label != held_out], [held_out]
        notes.append(f"there are no usable validation data: {held_out} is held out of the training data instead")
    n_cells = sum(n_train[label] for label in trained)
    if n_cells < batch_size:
        raise Skip(
            f"{n_cells} training cells are less than one batch of {batch_size}, and GEARS drops what is no full batch; "
            "set a smaller batch_size"
        )
    return Plan(trained, validated, left_out, notes)


def _counts(adata: AnnData) -> dict[str, int]:
    """Return the number of cells of each perturbation, in order of first appearance."""
    labels = adata.obs["perturbation"].astype(str)
    return {str(label): int(n) for label, n in labels.value_counts(sort=False).loc[labels.unique()].items()}


def _takes_part(label: str, counts: dict[str, int], genes: Set[str], left_out: dict[str, str]) -> bool:
    reason = why_not(label, genes)
    if not reason and counts[label] < FEWEST_CELLS:
        reason = f"it has {counts[label]} cell, and GEARS needs {FEWEST_CELLS} of each"
    if reason and label != CONTROL:
        left_out[label] = reason
    return not reason


def assemble(train: AnnData, val: AnnData | None, plan: Plan) -> AnnData:
    """Return the cells of training and validation, in this order, in the form of cell-gears: CSR, its names, no layers.

    Raises
    ------
    DataError
        If a gene symbol comes twice: cell-gears would quietly take the last one.
    """
    import pandas as pd
    from anndata import AnnData

    if train.var_names.has_duplicates:
        twice = train.var_names[train.var_names.duplicated()][0]
        raise DataError(f"gears: duplicate gene {twice!r}; name each gene once")
    taking_part = {*plan.train, *plan.val}
    parts = [part for part in (train, val) if part is not None]
    chosen = [np.flatnonzero(part.obs["perturbation"].isin(taking_part).to_numpy()) for part in parts]
    labels = np.concatenate(
        [part.obs["perturbation"].astype(object).to_numpy()[rows] for part, rows in zip(parts, chosen, strict=True)]
    )
    names = {label: upstream_name(label) for label in taking_part}
    obs = pd.DataFrame(
        {"condition": [names[label] for label in labels], "cell_type": CELL_TYPE},
        index=[f"c{i}" for i in range(len(labels))],
    )
    var = pd.DataFrame({"gene_name": train.var_names.astype(object)}, index=train.var_names.astype(object))
    return AnnData(X=_stack([part.X[rows] for part, rows in zip(parts, chosen, strict=True)]), obs=obs, var=var)


def _stack(matrices: list[Any]) -> Any:
    """Return the rows of some matrices as one CSR matrix of float32."""
    from scipy import sparse

    return sparse.vstack([sparse.csr_matrix(matrix, dtype=np.float32) for matrix in matrices], format="csr")
