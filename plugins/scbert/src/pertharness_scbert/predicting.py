"""Predicting: held-out conditions are embedded with their targets' observed values, and decoded to expression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pertharness import DataError, make_prediction, targets_of
from pertharness_foundation.decoder import decode

from pertharness_scbert.fitting import Fitted
from pertharness_scbert.pasting import HeldOutCells, read_held_out

if TYPE_CHECKING:
    from anndata import AnnData


def predict_queries(
    fitted: Fitted, controls: AnnData, queries: Sequence[str], oracle: AnnData | None, seed: int
) -> AnnData:
    """Predict the queries whose targets are in the gene list and whose held-out cells express enough genes.

    The control cells are those of the fit, so that training and held-out conditions start from the same ones.
    """
    if tuple(map(str, controls.var_names)) != fitted.genes:
        raise DataError("scbert: the genes of the controls are not those that the model was trained on, in their order")
    settings = fitted.embedder.settings
    held_out = read_held_out(oracle, settings.cells.min_genes)
    unanswered: dict[str, str] = {}
    embeddings: dict[str, np.ndarray] = {}
    for query in queries:
        if unlisted := fitted.embedder.pool.unlisted(query):
            verb = "are" if len(unlisted) > 1 else "is"
            unanswered[query] = f"{' and '.join(unlisted)} {verb} not in scBERT's gene list"
        elif (vector := fitted.embedder.embed(query, held_out, seed)) is None:
            unanswered[query] = _without_cells(query, held_out, settings.cells.min_genes)
        else:
            embeddings[query] = vector
    decoded = decode(fitted.conditions, embeddings, queries, settings.decoding, seed)
    means = {query: decoded.means[query] for query in queries if query in decoded.means}
    notes = (*fitted.notes, *_zeros(fitted, list(means), held_out), *decoded.notes)
    return make_prediction(means, fitted.genes, unanswered, notes=notes)


def _without_cells(query: str, held_out: HeldOutCells, min_genes: int) -> str:
    """Return why a query has no cell to take values from."""
    few = held_out.few.get(query, 0)
    if not few:
        return "the oracle has no cell of it"
    return f"none of its {few} held-out cells expresses {min_genes} genes of scBERT's list"


def _zeros(fitted: Fitted, answered: Sequence[str], held_out: HeldOutCells) -> list[str]:
    """Return lines for the record on targets that are pasted as 0."""
    targets = {query: targets_of(query) for query in answered}
    unmeasured = sorted({target for named in targets.values() for target in named} - set(fitted.genes))
    silent = sorted({
        target for query, named in targets.items() for target in named
        if target in held_out.targets and not held_out.log2_of(held_out.cells_of(query), [target]).any()
    })  # fmt: skip
    notes = []
    if unmeasured:
        notes.append(f"targets that the data do not measure are pasted as 0: {_some(unmeasured)}")
    if silent:
        notes.append(f"targets that no held-out cell of their condition expresses, pasted as 0: {_some(silent)}")
    return notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
