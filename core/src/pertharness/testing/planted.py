"""Planted data: a small screen with known effects, made in memory and the same on every machine.

Counts are Poisson with planted rates. A single changes its target and five other genes. A double has the effects of its
two singles, and an interaction at two genes. Symbols are those of real genes, so that models with a gene vocabulary
know them; Ensembl ids and all values are made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness.contract.jobs import Task
from pertharness.contract.labels import CONTROL, join_targets, targets_of

if TYPE_CHECKING:
    from anndata import AnnData

GENES = (
    "KLF1", "CEBPE", "GATA1", "SPI1", "TP53", "MYC", "JUN", "FOS", "RUNX1", "TAL1", "IRF1", "STAT1", "EGR1", "ETS2",
    "FOXO3", "SOX4", "BCL2", "CDKN1A", "HBG1", "HBG2", "ACTB", "GAPDH", "TUBB", "EEF1A1", "RPLP0", "RPS6", "B2M", "VIM",
    "HSPA8", "NCL", "PTMA", "TMSB4X", "FTL", "FTH1", "LDHA", "ENO1", "PKM", "YWHAZ", "CFL1", "PFN1",
)  # fmt: skip
SINGLES = GENES[:8]
DOUBLES = tuple(
    join_targets(pair)
    for pair in (
        ("KLF1", "CEBPE"),
        ("GATA1", "SPI1"),
        ("TP53", "MYC"),
        ("JUN", "FOS"),
        ("KLF1", "GATA1"),
        ("MYC", "FOS"),
    )
)
UNSEEN = "ZNF9999"
"""A gene that is neither measured nor perturbed."""
N_CONTROLS, N_CELLS = 40, 12
"""Number of cells of the control, and of each perturbation."""
TARGET_SHIFT, EFFECT_SD, INTERACTION = 1.2, 0.5, 0.6
"""Effects on the logarithm of rates; as in a strong screen, so that 12 cells suffice to see them."""


@dataclass(frozen=True)
class Posed:
    """A task on planted data, with the truth, which models do not receive.

    ``train``, ``val``, ``controls`` and ``references`` have the chosen level; ``truth`` is a pseudobulk. ``cells`` are
    all cells of the screen, of which a model with an oracle is given the values of its targets.
    """

    task: Task
    train: AnnData
    val: AnnData
    controls: AnnData
    queries: list[str]
    references: Mapping[str, AnnData]
    truth: AnnData
    cells: AnnData


def planted_cells(seed: int = 0, context: str = "planted_a") -> AnnData:
    """Return the planted screen: 208 cells x 40 genes, canonical, log1p CP10k, counts in ``layers["counts"]``.

    Parameters
    ----------
    seed
        Seed of the counts; the planted effects are always the same.
    context
        Context of all cells; controls of another context have another expression.
    """
    import pandas as pd
    from anndata import AnnData
    from scipy import sparse

    from pertharness.data.canonical import KEY, SCALE

    labels = [CONTROL, *SINGLES, *DOUBLES]
    rates = _planted_rates(labels, context)
    groups = np.repeat(np.arange(len(labels)), [N_CONTROLS] + [N_CELLS] * (len(labels) - 1))
    rng = np.random.default_rng([seed, *context.encode()])
    groups = rng.permutation(groups)
    counts = rng.poisson(rates[groups]).astype(np.float32)
    totals = counts.sum(axis=1, dtype=np.float64)
    logs = np.log1p(counts * (1e4 / totals)[:, None]).astype(np.float32)
    names = np.array(labels, dtype=object)[groups]
    obs = pd.DataFrame(index=pd.Index([f"cell{i}" for i in range(len(groups))], dtype=object))
    obs["perturbation"] = pd.Categorical(names)
    obs["label_given"] = pd.Categorical(names)
    obs["context"] = pd.Categorical(np.full(len(names), context, dtype=object))
    obs["total_counts"] = totals
    var = pd.DataFrame(index=pd.Index(GENES, dtype=object))
    var["ensembl_id"] = pd.Series([f"ENSGPLANTED{i:03d}" for i in range(len(GENES))], index=var.index, dtype=object)
    fields = {
        "name": "planted",
        "level": "cells",
        "scale": SCALE,
        "modality": "crispra",
        "origin": "made up",
        "notes": "",
    }
    layers = {"counts": sparse.csr_matrix(counts)}
    return AnnData(X=sparse.csr_matrix(logs), obs=obs, var=var, layers=layers, uns={KEY: fields})


def _planted_rates(labels: list[str], context: str) -> np.ndarray:
    """Return the expected counts per cell, shape (n_labels, n_genes)."""
    rng = np.random.default_rng(1)
    base = rng.normal(3.0, 0.8, len(GENES))
    effects = {}
    for gene in SINGLES:
        effect = np.zeros(len(GENES))
        effect[rng.choice(np.arange(len(SINGLES), len(GENES)), 5, replace=False)] = rng.normal(0, EFFECT_SD, 5)
        effect[GENES.index(gene)] += TARGET_SHIFT
        effects[gene] = effect
    if context != "planted_a":
        base = base + np.random.default_rng([2, *context.encode()]).normal(0, 0.3, len(GENES))
    rows = []
    for label in labels:
        row = base + sum((effects[target] for target in targets_of(label)), np.zeros(len(GENES)))
        if len(targets_of(label)) > 1:
            row[-2:] += INTERACTION
        rows.append(row)
    return np.exp(np.array(rows))


def planted_means(seed: int = 0, context: str = "planted_a") -> AnnData:
    """Return the means of the planted screen: 15 perturbations with the control x 40 genes, float64, log1p CP10k."""
    from pertharness.data.canonical import pseudobulk

    return pseudobulk(planted_cells(seed, context))


def planted_task(kind: str) -> Task:
    """Return the description of a task on planted data: ``double``, ``single`` or ``transfer``."""
    return Task(dataset="planted", name=kind, split_kind=kind, split_seed=1, modality="crispra", context="planted_a")


def pose(kind: str, level: str, seed: int = 0) -> Posed:
    """Return a task on planted data.

    Parameters
    ----------
    kind
        ``double``: all singles and three doubles are for training, two doubles are queries. ``single``: five singles
        and their doubles are for training, two singles are queries. ``transfer``: like ``single``, with the whole
        screen in another context as reference.
    level
        ``cells`` or ``pseudobulk``.
    seed
        Seed of the counts.
    """
    from pertharness.data.canonical import pseudobulk, select

    held_out, val = (DOUBLES[4:], DOUBLES[3:4]) if kind == "double" else (SINGLES[:2], SINGLES[2:3])
    outside = {*held_out, *val}
    training = [
        label for label in (*SINGLES, *DOUBLES)
        if label not in outside and (kind == "double" or not outside & {*targets_of(label)})
    ]  # fmt: skip
    make: Any = planted_cells if level == "cells" else planted_means
    cells = planted_cells(seed)
    adata = cells if level == "cells" else pseudobulk(cells)
    train = select(adata, [CONTROL, *training])
    return Posed(
        task=planted_task(kind), train=train, val=select(adata, list(val)), controls=select(train, [CONTROL]),
        queries=list(held_out),
        references={"planted_b": make(seed, context="planted_b")} if kind == "transfer" else {},
        truth=select(pseudobulk(cells), list(held_out)), cells=cells,
    )  # fmt: skip
