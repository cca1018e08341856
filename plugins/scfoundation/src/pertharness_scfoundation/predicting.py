"""Predicting: the mean over control cells of what the graph model makes of them, with one batch in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from pertharness import Skip, make_prediction
from pertharness_foundation.device import in_batches, is_out_of_memory
from torch import Tensor

from pertharness_scfoundation.cells import Cells, read_cells
from pertharness_scfoundation.head import perturbed_in
from pertharness_scfoundation.perturbations import genes_of, why_not
from pertharness_scfoundation.training import Fitted

if TYPE_CHECKING:
    from anndata import AnnData

UNKNOWN_GENE = "it is not in scFoundation's gene list"


def predict_queries(fitted: Fitted, controls: AnnData, queries: Sequence[str], seed: int) -> AnnData:
    """Predict the queries whose genes are in the ontology; genes outside the gene list are columns of NaN.

    Each query starts from 300 control cells drawn with replacement, in batches of 5; with ``control_draws = "shared"``
    all start from the same ones, whose embeddings are then computed once.
    """
    reasons = {query: why_not(query, fitted.vocabulary) for query in queries}
    answered = [query for query in queries if not reasons[query]]
    cells = read_cells(controls, fitted.columns)
    # The totals are whole numbers in predictions, as published.
    cells = Cells(cells.expression, np.trunc(cells.totals), cells.labels)
    if not len(cells.labels):
        raise Skip("scFoundation predicts from control cells, and all of them are empty")
    columns = fitted.columns.positions(controls.var_names)
    means = {}
    for asked, rows in _draws(fitted, len(cells.totals), answered, seed):
        for query, mean in zip(asked, _mean_predictions(fitted, cells, rows, asked), strict=True):
            means[query] = np.full(controls.n_vars, np.nan)
            means[query][columns] = mean
    known = set(fitted.columns.genes)
    missing = {str(gene): UNKNOWN_GENE for gene in controls.var_names if gene not in known}
    unanswered = {query: reason for query, reason in reasons.items() if reason}
    return make_prediction(
        {query: means[query] for query in answered}, controls.var_names, unanswered,
        missing if answered else {}, fitted.notes,
    )  # fmt: skip


def _draws(
    fitted: Fitted, n_controls: int, queries: Sequence[str], seed: int
) -> list[tuple[Sequence[str], np.ndarray]]:
    """Return queries that start from the same control cells, with the rows of these.

    The draws of a query depend on its name and the seed, not on which others are asked.
    """
    n_drawn = fitted.settings.predicting.control_cells
    if fitted.settings.choices().control_draws == "shared":
        return [(queries, np.random.RandomState(seed).randint(0, n_controls, n_drawn))] if queries else []
    return [
        ([query], np.random.default_rng([seed, *query.encode()]).integers(0, n_controls, n_drawn)) for query in queries
    ]


def _mean_predictions(fitted: Fitted, cells: Cells, rows: np.ndarray, queries: Sequence[str]) -> np.ndarray:
    """Return the mean prediction of each query over some control cells, shape (n_queries, n_genes), float64."""
    total = torch.zeros(len(queries), cells.expression.shape[1], dtype=torch.float64, device=fitted.embedder.device)
    targets = [genes_of(query, fitted.vocabulary) for query in queries]
    with torch.no_grad():
        table = fitted.head.eval().perturbations()

        def add(start: int, stop: int) -> None:
            # Only a whole batch is added: one that runs out of memory is computed anew, in parts.
            total.add_(_sum_of_batch(fitted, cells.take(rows[start:stop]), targets, table))

        size = fitted.settings.predicting.predict_batch_size
        batches = _whole_batches if _needs_whole(fitted) else in_batches
        for _ in batches(len(rows), add, size=size):
            pass
    means: np.ndarray = (total / len(rows)).cpu().numpy()
    return means


def _needs_whole(fitted: Fitted) -> bool:
    """Return whether a prediction depends on which cells share a batch, so that none may be made smaller."""
    choices = fitted.settings.choices()
    return choices.propagation == "first" or choices.key_maximum == "batch"


def _whole_batches(n: int, compute: Callable[[int, int], object], *, size: int) -> Iterator[object]:
    """Yield the results of batches as `in_batches` does; one that does not fit in the memory is the end."""
    for start in range(0, n, size):
        try:
            yield compute(start, min(n, start + size))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise Skip(
                f"a batch of {size} cells does not fit in the memory of the device, and the procedure depends on the "
                'size: take a larger device, a smaller predict_batch_size, or procedure = "corrected"'
            ) from None


def _sum_of_batch(fitted: Fitted, batch: Cells, targets: Sequence[Sequence[int]], table: Tensor) -> Tensor:
    """Return the sum over the cells of a batch for each query, shape (n_queries, n_genes); embeddings are shared."""
    head, device = fitted.head, fitted.embedder.device
    base = head.base(fitted.embedder.embed(batch))
    expression = torch.from_numpy(batch.expression.toarray()).to(device)
    sums = []
    for genes in targets:
        perturbed = perturbed_in([list(genes)] * len(batch.totals)).to(device)
        sums.append(head.respond(base, expression, perturbed, table).sum(dim=0, dtype=torch.float64))
    return torch.stack(sums)
