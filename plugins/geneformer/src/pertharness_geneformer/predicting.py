"""Predicting: embed the queries in control cells, and decode what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pertharness import DataError, Skip, make_prediction
from pertharness_foundation.decoder import decode

from pertharness_geneformer.fitted import Fitted
from pertharness_geneformer.fitting import read_cells

if TYPE_CHECKING:
    from anndata import AnnData


def predict_geneformer(fitted: Fitted, controls: AnnData, queries: Sequence[str], device: str, seed: int) -> AnnData:
    """Predict the queries; those that have no embedding are not answered, and the reason is stated.

    Parameters
    ----------
    seed
        Of the decoder's stand-ins; the embeddings depend on that of the training alone.
    """
    if list(map(str, controls.var_names)) != list(fitted.genes.names):
        raise DataError("geneformer: the genes of the controls are not those that it was trained on, in their order")
    notes = list(fitted.notes)
    cells = read_cells(controls, fitted.genes, notes, "control")
    if not cells.expression.shape[0]:
        raise Skip("Geneformer perturbs control cells, and none has a gene that it knows")
    pool = fitted.pool_of(cells.expression, device)
    vectors, reasons = pool.embed(queries)
    notes += pool.edits_note(vectors)
    decoded = decode(fitted.conditions, vectors, queries, fitted.settings.decoding, seed)
    return make_prediction(decoded.means, fitted.genes.names, reasons, notes=[*notes, *decoded.notes])
