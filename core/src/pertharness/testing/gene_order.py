"""The check that a model's values stand under the names of their own genes."""

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
"""Values under their own names are to be this many times nearer to those of the first answer than values by place."""
WHAT = "training genes in another order"
HINT = "give each value under its own gene's name, in the order of controls.var_names"
FAR_CHANGES = 1.5
"""The same for changes from the control: a network whose weights are drawn anew for each gene is as if drawn by another
seed, and small effects vary more than levels. Changes in the wrong places are nearer by place than by name."""


def check_gene_order(trial: ModelTrial) -> None:
    """Genes in another order, with names that are not sorted, get the same values under their names."""
    first, second = trial.sound(), trial.answer(permute_genes(trial.posed))
    refuse_other_queries(first.means(), second.means(), second.queries, WHAT)
    order = second.controls.var_names.get_indexer(first.controls.var_names)
    aligned = {query: values[order] for query, values in second.means().items()}
    if trial.offer.deterministic:
        difference = largest_difference(first.means(), aligned)
        if difference <= TOLERANCE:
            return
        if largest_difference(first.means(), trial.other().means()) <= TOLERANCE:  # else see another_seed
            raise ContractError(f"{WHAT}: answers differ by up to {difference:.2g}, allowed {TOLERANCE:g}; {HINT}")
    # Weights drawn by place are other weights for each gene, as another seed's are.
    near = 0.0 if trial.offer.deterministic else SPREAD * _distance(first, trial.other(), _zero)
    _check_nearer("values", first, second, order, _zero, FAR, near)
    changes, between_seeds = _root_mean_square(first, _control), _distance(first, trial.other(), _control)
    if FAR * between_seeds <= changes:  # else they are noise in any order
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
    """Refuse values not `far` times nearer by name than by place, unless they are nearer and no farther than `near`."""
    by_name, by_place = _distance(first, second, zero, order), _distance(first, second, zero)
    allowed = max(by_place / far, min(near, by_place / FAR_CHANGES))
    if by_name > allowed:
        raise ContractError(
            f"{WHAT}: the {quantity} are off by {by_name:.2g} under the same names, by {by_place:.2g} in the same "
            f"places; expected {allowed:.2g} at most; {HINT}"
        )


def _zero(answer: Answer) -> float:
    """Return the zero of values."""
    return 0.0


def _control(answer: Answer) -> np.ndarray:
    """Return the mean of the controls that an answer was given, shape (n_genes,)."""
    from pertharness.data.canonical import control_mean

    return control_mean(answer.controls)


def _distance(
    first: Answer, second: Answer, zero: Callable[[Answer], np.ndarray | float], order: np.ndarray | slice = slice(None)
) -> float:
    """Return the root mean square difference of two answers, each from its own zero, the second one in an order."""
    means, others = first.means(), second.means()
    queries = [query for query in means if query in others]
    differences = [(means[query] - zero(first)) - (others[query] - zero(second))[order] for query in queries]
    return float(np.sqrt(np.nanmean(np.square(differences)))) if queries else 0.0


def _root_mean_square(answer: Answer, zero: Callable[[Answer], np.ndarray | float]) -> float:
    """Return the size of an answer's values, from their zero."""
    values = [row - zero(answer) for row in answer.means().values()]
    return float(np.sqrt(np.nanmean(np.square(values))))
