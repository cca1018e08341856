"""Check that the values of a prediction are in the columns of the right genes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pertharness.contract.errors import ContractError
from pertharness.testing.model_trial import (
    SPREAD,
    TOLERANCE,
    Answer,
    ModelTrial,
    largest_difference,
    permute_genes,
    refuse_other_queries,
)

FAR = 3.0
"""Values compared by gene name must be this many times nearer to the first answer than values compared by position."""
WHAT = "training genes in another order"
HINT = "give each value under its own gene's name, in the order of controls.var_names"
FAR_CHANGES = 1.5
"""The same factor for changes from the control. A network with new random weights for each gene is like one with a new
seed, and small effects vary more than levels. Changes in the wrong columns are nearer by position than by name."""


def check_gene_order(trial: ModelTrial) -> None:
    """Genes in another order, not sorted by name, get the same values."""
    first, second = trial.sound(), trial.answer(permute_genes(trial.posed))
    refuse_other_queries(first.means(), second.means(), second.queries, WHAT)
    order = second.controls.var_names.get_indexer(first.controls.var_names)
    aligned = {query: values[order] for query, values in second.means().items()}
    if trial.offer.deterministic:
        difference = largest_difference(first.means(), aligned)
        if difference <= TOLERANCE:
            return
        if largest_difference(first.means(), trial.other().means()) <= TOLERANCE:  # otherwise another_seed reports it
            raise ContractError(f"{WHAT}: answers differ by up to {difference:.2g}, allowed {TOLERANCE:g}; {HINT}")
    # Weights drawn by position are new weights for each gene, like those of another seed.
    near = 0.0 if trial.offer.deterministic else SPREAD * _distance(first, trial.other(), _zero)
    _check_nearer("values", first, second, order, _zero, FAR, near)
    changes, between_seeds = _root_mean_square(first, _control), _distance(first, trial.other(), _control)
    if FAR * between_seeds <= changes:  # otherwise changes are noise in any order
        _check_nearer("changes from the control", first, second, order, _control, FAR_CHANGES)


def _check_nearer(
    quantity: str,
    first: Answer,
    second: Answer,
    order: np.ndarray,
    zero: Callable[[Answer], np.ndarray | float],
    far: float,
    near: float = 0.0,
) -> None:  # fmt: skip
    """Raise an error unless values are `far` times nearer by name than by position, or nearer and within `near`."""
    by_name, by_place = _distance(first, second, zero, order), _distance(first, second, zero)
    allowed = max(by_place / far, min(near, by_place / FAR_CHANGES))
    if by_name > allowed:
        raise ContractError(
            f"{WHAT}: the {quantity} are off by {by_name:.2g} under the same names, by {by_place:.2g} in the same "
            f"places; expected {allowed:.2g} at most; {HINT}"
        )


def _zero(answer: Answer) -> float:
    """Return 0, the baseline of values."""
    return 0.0


def _control(answer: Answer) -> np.ndarray:
    """Return the control mean of an answer, the baseline of changes, shape (n_genes,)."""
    from pertharness.data.canonical import control_mean

    return control_mean(answer.controls)


def _distance(
    first: Answer, second: Answer, zero: Callable[[Answer], np.ndarray | float], order: np.ndarray | slice = slice(None)
) -> float:
    """Return the root mean square difference of two answers from their baselines, with the second one in `order`."""
    means, others = first.means(), second.means()
    queries = [query for query in means if query in others]
    differences = [(means[query] - zero(first)) - (others[query] - zero(second))[order] for query in queries]
    return float(np.sqrt(np.nanmean(np.square(differences)))) if queries else 0.0


def _root_mean_square(answer: Answer, zero: Callable[[Answer], np.ndarray | float]) -> float:
    """Return the root mean square of an answer's values from their baseline."""
    values = [row - zero(answer) for row in answer.means().values()]
    return float(np.sqrt(np.nanmean(np.square(values))))
