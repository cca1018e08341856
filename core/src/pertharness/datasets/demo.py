"""The demo: a simulated screen with a known truth and no download, on which each baseline does well in some respect.

Genes belong to programmes. A perturbation shifts the programme of its target, a response shared by all perturbations,
a few further genes, and the target itself. So the mean of the training perturbations predicts an unseen single in part,
genes that vary together predict more, and doubles are additive except for planted interactions.
Symbols (``DEMO0001``) and Ensembl ids (``ENSGDEMO00001``) are made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness.contract.cards import DatasetOffer, SideFile
from pertharness.contract.labels import CONTROL, join_targets
from pertharness.contract.settings import settings_of
from pertharness.data.canonical import KEY, SCALE, check_dataset
from pertharness.datasets.options import DemoOptions, check_options

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

DEMO = DatasetOffer(
    name="demo",
    summary="a simulated CRISPRa screen of singles and doubles, generated on demand",
    reference="docs/data.md",
    licence="MIT",
    modality="crispra",
    **settings_of(DemoOptions),
    side_files=(SideFile(name="gene2go.csv", summary="made-up terms of each gene, as of the Gene Ontology"),),
    cheap=True,
)

# The numbers below make the demo look like a good CRISPRa screen; they are not from real data.
N_PROGRAMMES = 8
TARGET_FOLD = 6.0
"""Fold change of a target by CRISPRa."""
DISPERSION = 0.25
"""Negative-binomial dispersion: variance = mean + DISPERSION mean^2."""
MEAN_TOTAL = 2500.0
"""Mean counts per cell."""
ORIGIN = "simulated by pertharness, seed {seed}, replicate {replicate}"
BUFFERED, SYNERGISTIC = 0.3, 1.9
"""Factors of the additive effect for genes with a planted interaction."""


@dataclass(frozen=True)
class DemoModel:
    """The parameters that counts are drawn from.

    ``log_rates``, shape (n_perturbations, n_genes), is the natural logarithm of the relative expression, with the
    control first. ``interactions``, shape (n_perturbations, n_genes), is the factor of the additive effect, 1 without
    interaction.
    """

    perturbations: tuple[str, ...]
    genes: tuple[str, ...]
    programmes: np.ndarray
    """Programme of each gene, shape (n_genes,)."""
    log_rates: np.ndarray
    interactions: np.ndarray


@dataclass(frozen=True)
class DemoTruth:
    """The true expression and interactions of the demo; perturbations x genes."""

    expression: pd.DataFrame
    """log1p of the expected counts per 10 000."""
    interactions: pd.DataFrame
    """``additive``, ``buffering`` or ``synergistic``; doubles only."""


def load_demo(name: str, source: Path | None, params: Mapping[str, Any]) -> AnnData:
    """Return the simulated demo: counts in ``layers["counts"]``, log1p of counts per 10 000 in ``X``."""
    import pandas as pd
    from anndata import AnnData
    from scipy import sparse

    options = check_options(DemoOptions, name, params)
    model = _make_model(options)
    # A replicate has new cells with the same perturbations, like a second experiment.
    rng = np.random.default_rng([options.seed, 1, *([options.replicate] if options.replicate else [])])
    groups = _draw_groups(options, len(model.perturbations), rng)
    counts = _draw_counts(model, groups, rng)
    totals = counts.sum(axis=1, dtype=np.float64)
    counts_csr = sparse.csr_matrix(counts, dtype=np.float32)
    logs = counts_csr.astype(np.float64)
    logs.data = np.log1p(logs.data * np.repeat(1e4 / totals, np.diff(logs.indptr)))
    labels_given = np.array([_label_given(label) for label in model.perturbations], dtype=object)
    obs = pd.DataFrame(index=pd.Index([f"CELL{i + 1:05d}" for i in range(len(groups))], dtype=object))
    obs["perturbation"] = pd.Categorical(np.array(model.perturbations, dtype=object)[groups])
    obs["label_given"] = pd.Categorical(labels_given[groups])
    obs["context"] = pd.Categorical(np.array(["demo"] * len(groups), dtype=object))
    obs["total_counts"] = totals
    var = pd.DataFrame(index=pd.Index(model.genes, dtype=object))
    ids = [f"ENSGDEMO{i + 1:05d}" for i in range(len(model.genes))]
    var["ensembl_id"] = pd.Series(ids, index=var.index, dtype=object)
    origin = ORIGIN.format(seed=options.seed, replicate=options.replicate)
    fields = {"name": name, "level": "cells", "scale": SCALE, "modality": "crispra", "origin": origin, "notes": ""}
    adata = AnnData(X=logs.astype(np.float32), obs=obs, var=var, layers={"counts": counts_csr}, uns={KEY: fields})
    check_dataset(adata, name)
    return adata


def demo_truth(params: Mapping[str, Any] | None = None) -> DemoTruth:
    """Return the true expression and interactions of the demo with these parameters."""
    import pandas as pd

    model = _make_model(check_options(DemoOptions, DEMO.name, params or {}))
    rates = np.exp(model.log_rates)
    shares = rates / rates.sum(axis=1, keepdims=True)
    index, columns = list(model.perturbations), list(model.genes)
    words = np.where(model.interactions < 1, "buffering", np.where(model.interactions > 1, "synergistic", "additive"))
    is_double = np.array(["+" in label for label in index])
    return DemoTruth(
        expression=pd.DataFrame(np.log1p(1e4 * shares), index=index, columns=columns),
        interactions=pd.DataFrame(words, index=index, columns=columns)[is_double],
    )


def demo_gene2go(params: Mapping[str, Any] | None = None) -> dict[str, list[str]]:
    """Return made-up terms for each gene of the demo: one for its programme, and one of twenty meaningless ones."""
    options = check_options(DemoOptions, DEMO.name, params or {})
    model = _make_model(options)
    noise = np.random.default_rng([options.seed, 2]).integers(0, 20, len(model.genes))
    terms = zip(model.genes, model.programmes, noise, strict=True)
    return {gene: [f"GO:DEMO{programme + 1:02d}", f"GO:NOISE{other + 1:02d}"] for gene, programme, other in terms}


def make_demo_file(name: str, file: str, params: Mapping[str, Any], path: Path) -> None:
    """Write `demo_gene2go` as a CSV of genes and terms: no published ontology knows genes that are made up."""
    rows = [f"{gene},{term}" for gene, terms in demo_gene2go(params).items() for term in terms]
    path.write_text("\n".join(["gene,term", *rows]) + "\n", encoding="utf-8")


def _make_model(options: DemoOptions) -> DemoModel:
    """Return a model with random programmes, effects and interactions."""
    rng = np.random.default_rng([options.seed, 0])
    n = options.n_genes
    genes = tuple(f"DEMO{i + 1:04d}" for i in range(n))
    programmes = rng.integers(0, N_PROGRAMMES, n)
    base = rng.normal(0.0, 1.4, n)
    # Targets are expressed well enough to be measured.
    expressed = np.flatnonzero(base > np.quantile(base, 0.3))
    targets = rng.choice(expressed, min(options.n_singles, len(expressed)), replace=False)
    singles = _single_effects(targets, programmes, rng)
    pairs = _draw_pairs(len(targets), options.n_doubles, rng)
    labels = [(join_targets([genes[t]]), singles[i], np.ones(n)) for i, t in enumerate(targets)]
    for i, j in pairs:
        additive = singles[i] + singles[j]
        factors = _draw_interactions(additive, rng)
        labels.append((join_targets([genes[targets[i]], genes[targets[j]]]), additive * factors, factors))
    return DemoModel(
        perturbations=(CONTROL, *(label for label, _, _ in labels)),
        genes=genes,
        programmes=programmes,
        log_rates=base + np.vstack([np.zeros(n), *(effect for _, effect, _ in labels)]),
        interactions=np.vstack([np.ones(n), *(factors for _, _, factors in labels)]),
    )


def _single_effects(targets: np.ndarray, programmes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return random effects of the singles on the log rates, shape (n_targets, n_genes)."""
    n = len(programmes)
    loadings = rng.gamma(4.0, 0.25, n)  # one for each gene, mean 1
    shared = np.where(rng.random(n) < 0.15, rng.normal(0.0, 0.5, n), 0.0)  # the response to any perturbation
    # Effect of a gene of one programme (row) on another (column): its own goes up, two or three others change a little.
    coupling = np.where(rng.random((N_PROGRAMMES, N_PROGRAMMES)) < 0.3, rng.normal(0.0, 0.25, (N_PROGRAMMES,) * 2), 0.0)
    np.fill_diagonal(coupling, rng.uniform(0.4, 0.7, N_PROGRAMMES))
    strengths = rng.uniform(0.5, 1.5, len(targets))
    effects = np.empty((len(targets), n))
    for row, target in enumerate(targets):
        own = np.where(rng.random(n) < 0.02, rng.normal(0.0, 0.8, n), 0.0)
        moved = coupling[programmes[target], programmes] * loadings
        effects[row] = strengths[row] * (moved + shared) + own
        effects[row, target] = np.log(TARGET_FOLD)
    return effects


def _draw_pairs(n_targets: int, n_pairs: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Return random pairs of distinct targets, without repeats."""
    first, second = np.triu_indices(n_targets, k=1)
    chosen = rng.choice(len(first), min(n_pairs, len(first)), replace=False)
    return [(int(first[i]), int(second[i])) for i in chosen]


def _draw_interactions(additive: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return random factors for a double's additive effects; they differ from 1 for about 3 % of the genes."""
    factors = np.ones(len(additive))
    strong = np.flatnonzero(np.abs(additive) > 0.5)
    chosen = rng.choice(strong, min(len(strong), round(0.03 * len(additive))), replace=False)
    # Buffering is more common in real screens (doi 10.1038/s41592-025-02772-6: 2.3 % against 0.6 %).
    factors[chosen] = np.where(rng.random(len(chosen)) < 0.75, BUFFERED, SYNERGISTIC)
    return factors


def _draw_groups(options: DemoOptions, n_perturbations: int, rng: np.random.Generator) -> np.ndarray:
    """Return the perturbation of each cell, in random order."""
    low, high = max(1, round(0.75 * options.n_cells)), round(1.25 * options.n_cells)
    n_cells = rng.integers(low, high + 1, n_perturbations)
    n_cells[0] = options.n_controls
    return rng.permutation(np.repeat(np.arange(n_perturbations), n_cells))


def _draw_counts(model: DemoModel, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return random negative-binomial counts, shape (n_cells, n_genes): Poisson with gamma-distributed rates."""
    rates = np.exp(model.log_rates)
    means = (rates / rates.sum(axis=1, keepdims=True)).astype(np.float32)
    totals = (MEAN_TOTAL * rng.lognormal(-0.045, 0.3, len(groups))).astype(np.float32)  # mean of the lognormal: 1
    counts = np.empty((len(groups), len(model.genes)), dtype=np.float32)
    for start in range(0, len(groups), 256):  # small enough for the processor's cache
        rows = slice(start, start + 256)
        gamma = rng.standard_gamma(1 / DISPERSION, (len(groups[rows]), len(model.genes)), dtype=np.float32)
        counts[rows] = rng.poisson(gamma * DISPERSION * means[groups[rows]] * totals[rows, None])
    return counts


def _label_given(perturbation: str) -> str:
    """Return a label as GEARS spells it: ``A+ctrl``, ``ctrl``."""
    if perturbation == CONTROL:
        return "ctrl"
    return perturbation if "+" in perturbation else f"{perturbation}+ctrl"
