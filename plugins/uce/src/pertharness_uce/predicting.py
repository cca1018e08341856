"""Predicting: embeddings of the queries, whose targets get observed values, and the decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from pertharness import DataError, Skip, make_prediction, targets_of
from pertharness_foundation.cells import read_cells
from pertharness_foundation.decoder import decode

from pertharness_uce.cells import Observed, columns_of, paste
from pertharness_uce.embedder import embed_conditions
from pertharness_uce.fitting import Fitted, draw_controls, why_not

if TYPE_CHECKING:
    from anndata import AnnData

    from pertharness_uce.genes import Genes


def predict_queries(
    fitted: Fitted, controls: AnnData, queries: Sequence[str], oracle: AnnData | None, seed: int
) -> AnnData:
    """Predict the queries; one with a target that was not measured is not answered.

    Parameters
    ----------
    oracle
        Values of the targets in the cells of the queries: X CSR, log1p CP10k, columns named by gene;
        ``obs["perturbation"]``, and ``obs["smallest"]``, the smallest value above 0 of the cell over all genes.
    """
    genes, settings = fitted.genes, fitted.settings
    if list(map(str, controls.var_names)) != list(genes.names):
        raise DataError("uce: the genes of the controls are not those that the model was fitted on, in their order")
    if oracle is None:
        raise Skip("UCE is given observed values of the perturbed genes (an oracle), and this run gives none")
    notes = list(fitted.notes)
    reasons = {query: why_not(query, genes, settings) for query in queries}
    pool = draw_controls(read_cells(controls, notes, "control")[0], settings, seed)
    cells_of: dict[str, Callable[[np.random.RandomState], Any]] = {}
    silent: list[int] = []
    for query in sorted(query for query in queries if not reasons[query]):
        observed = observe_query(oracle, query, genes)
        if observed is None:
            reasons[query] = "no held-out cell of it has observed values"
        else:
            silent += observed.silent()
            cells_of[query] = partial(paste, pool, observed, settings.choices().pasted_values)
    notes += genes.silent_note(silent, "held-out")
    embedded = embed_conditions(fitted.embedder, genes, settings, seed, cells_of)
    if note := embedded.left.note(settings.sampling.min_genes):
        notes.append(f"query cells: {note}")
    for query in cells_of.keys() - embedded.vectors.keys():
        reasons[query] = "none of the cells that were made for it can be given to UCE (see the notes)"
    decoded = decode(fitted.conditions, embedded.vectors, queries, settings.decoding, seed)
    unanswered = {query: reason for query, reason in reasons.items() if reason}
    return make_prediction(decoded.means, genes.names, unanswered, notes=[*notes, *decoded.notes])


def observe_query(oracle: AnnData, query: str, genes: Genes) -> Observed | None:
    """Return the observed values of the targets of a query; None if none of its cells has any."""
    targets = targets_of(query)
    smallest = oracle.obs["smallest"].to_numpy(dtype=np.float32)
    labels = oracle.obs["perturbation"].astype(str).to_numpy()
    rows = np.flatnonzero((labels == query) & np.isfinite(smallest))  # empty cells have none
    places = oracle.var_names.get_indexer(list(targets))
    if not len(rows) or (places < 0).any():
        return None
    values = oracle.X[rows][:, places].toarray().astype(np.float32)
    return Observed(columns_of(targets, genes.column_of()), values, smallest[rows])
