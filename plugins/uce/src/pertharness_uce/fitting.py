"""Fitting: embeddings of the training conditions, from training cells alone; the network is not trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pertharness import CONTROL, Skip, targets_of
from pertharness_foundation.cells import read_cells
from pertharness_foundation.contents import named_file
from pertharness_foundation.decoder import Conditions
from pertharness_foundation.device import open_device
from pertharness_foundation.genes import read_hgnc

from pertharness_uce.cells import columns_of, draw_pool, observe, paste
from pertharness_uce.embedder import Embedder, embed_conditions, encode_tokens, make_embedder
from pertharness_uce.genes import Genes, choose_genes
from pertharness_uce.settings import Settings
from pertharness_uce.weights import Published, find_files, read_published

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Fitted:
    """The frozen network, the genes that it knows, and the training conditions for the decoder.

    Attributes
    ----------
    notes
        Lines for the record.
    """

    embedder: Embedder
    genes: Genes
    conditions: Conditions
    settings: Settings
    notes: tuple[str, ...]


def fit_model(
    name: str, train: AnnData, files: Mapping[str, Path], settings: Settings, device_name: str, seed: int
) -> Fitted:
    """Embed the training conditions, whose targets get values of training cells of the same condition.

    Raises
    ------
    Skip
        If there is no usable control cell, or no training perturbation can have an embedding.
    """
    device = open_device(device_name)
    published = read_published(name, find_files(name, files, settings.files))
    genes = _genes(name, train, published, settings)
    notes = [published.note, *genes.notes]
    known = encode_tokens(published, genes.places, device)
    embedder = make_embedder(published.network, known, settings, device)
    expression, labels = read_cells(train, notes, "training")
    pool = draw_controls(expression[labels == CONTROL], settings, seed)
    cells_of: dict[str, Callable[[np.random.RandomState], Any]] = {CONTROL: lambda rng: pool}
    cells_of |= _perturbed_cells(expression, labels, pool, genes, settings, notes)
    embedded = embed_conditions(embedder, genes, settings, seed, cells_of)
    if note := embedded.left.note(settings.sampling.min_genes):
        notes.append(f"training cells: {note}")
    if CONTROL not in embedded.vectors:
        raise Skip(
            f"UCE cannot embed the control: none of its cells is usable ({note}); it needs data of more genes, or the "
            "parameter filtering=off"
        )
    return Fitted(embedder, genes, Conditions.of(train, embedded.vectors), settings, tuple(notes))


def _perturbed_cells(
    expression: Any, labels: np.ndarray, pool: Any, genes: Genes, settings: Settings, notes: list[str]
) -> dict[str, Callable[[np.random.RandomState], Any]]:
    """Return for each training perturbation that can have an embedding the function that makes its cells.

    Parameters
    ----------
    notes
        Gets lines on perturbations that can have none, and on targets that no cell expresses.

    Raises
    ------
    Skip
        If no perturbation can have one; the message has the reason of the first.
    """
    column_of, pasted = genes.column_of(), settings.choices().pasted_values
    cells_of: dict[str, Callable[[np.random.RandomState], Any]] = {}
    reasons: dict[str, str] = {}
    silent: list[int] = []
    for label in sorted(set(labels) - {CONTROL}):
        if reason := why_not(label, genes, settings):
            reasons[label] = reason
            continue
        observed = observe(expression[labels == label], columns_of(targets_of(label), column_of))
        silent += observed.silent()
        cells_of[label] = partial(paste, pool, observed, pasted)
    if reasons:
        first, reason = next(iter(reasons.items()))
        text = f"{len(reasons)} training perturbations have no embedding (first: {first!r}: {reason})"
        if not cells_of:
            raise Skip(f"UCE needs at least one training perturbation beside the control: {text}")
        notes.append(text)
    notes += genes.silent_note(silent, "training")
    return cells_of


def _genes(name: str, train: AnnData, published: Published, settings: Settings) -> Genes:
    table = settings.names.gene_table
    ids = list(train.var["ensembl_id"].astype(str)) if "ensembl_id" in train.var else None
    return choose_genes(
        [str(gene) for gene in train.var_names], ids, published.vocabulary, published.first_chromosome,
        read_hgnc(named_file(name, "gene_table", table)) if table else None,
    )  # fmt: skip


def draw_controls(controls: Any, settings: Settings, seed: int) -> Any:
    """Return the pool of control cells, the same for the same controls and seed; see `draw_pool`."""
    rng = np.random.RandomState(seed)
    return draw_pool(controls, settings.sampling.pool_size, settings.choices().control_draws, rng)


def why_not(label: str, genes: Genes, settings: Settings) -> str:
    """Return why a perturbation has no embedding; empty if it can have one."""
    column_of = genes.column_of()
    for target in targets_of(label):
        if target not in column_of:
            return f"{target} is not among the genes of the data, so that UCE cannot be given its observed value"
    if settings.choices().unknown_targets == "unanswered":
        known = set(genes.columns.tolist())
        for target in targets_of(label):
            if column_of[target] not in known:
                return f"{target} has no protein embedding, so that UCE does not see it"
    return ""
