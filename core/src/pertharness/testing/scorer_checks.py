"""Checks of a scorer on planted data: properties that every metric of a prediction must have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pertharness.contract.errors import ContractError, Skip
from pertharness.testing.fresh import check_kept_nothing
from pertharness.testing.model_trial import OTHER_SCREEN, OTHER_SEED
from pertharness.testing.scorer_trial import (
    LARGE,
    QUERIES,
    SMALL,
    TOLERANCE,
    ScorerTrial,
    map_data,
    name_of_value,
    new_names,
    refuse_others,
    relabel,
    rename,
)
from pertharness.worker.digests import copy_hint

if TYPE_CHECKING:
    import pandas as pd

BEST_TOLERANCE = 1e-6
PARTIAL = ("common-genes", "published-code")
"""Variants that leave out missing genes by definition (docs/metrics.md)."""


def check_table(trial: ScorerTrial) -> None:
    """A good prediction gets finite values in long form, only of metrics and variants on the card."""
    trial.noisy()


def check_perfect(trial: ScorerTrial) -> None:
    """A perfect prediction gets the best value on the card."""
    trial.noisy()
    judged = [entry for entry in trial.judged(trial.scores(trial.make_scene(0.0))) if entry[0].best is not None]
    if not judged:
        raise Skip("no metric has a best value")
    for metric, variant, values in judged:
        off = np.abs(values - metric.best)
        if not len(values) or off.max() > BEST_TOLERANCE:
            got = f"{values[off.argmax()]!r}" if len(values) else "no value"
            raise ContractError(
                f"{metric.id} ({variant}) gives {got} for a perfect prediction, the card says best is {metric.best!r}"
            )


def check_direction(trial: ScorerTrial) -> None:
    """A noisier prediction is not better, in the direction on the card."""
    trial.noisy()
    near, far = trial.judged(trial.noisy()), trial.judged(trial.scores(trial.make_scene(LARGE)))
    for (metric, variant, good), (_, _, bad) in zip(near, far, strict=True):
        sign = 1.0 if metric.direction == "higher" else -1.0
        if len(good) and len(bad) and sign * bad.mean() > sign * good.mean() + TOLERANCE:
            raise ContractError(
                f"{metric.id} ({variant}): {metric.direction} is better, and noise of {LARGE} gives {bad.mean():.4g}, "
                f"of {SMALL} {good.mean():.4g}"
            )


def check_relabelled(trial: ScorerTrial) -> None:
    """Renaming genes and perturbations does not change the values."""
    values = trial.steady().copy()
    new = new_names(trial.scene.truth)
    renamed = [(relabel(p, new) if p else "", new.get(g, g), *rest) for p, g, *rest in values.index]
    values.index = type(values.index).from_tuples(renamed, names=values.index.names)
    refuse_others(values, trial.scores(map_data(trial.scene, rename)), "under other names")


def check_row_order(trial: ScorerTrial) -> None:
    """The order of the rows does not matter; truth and prediction may have different orders."""
    values, scene = trial.steady(), trial.scene
    rng = np.random.default_rng(6)
    truth, prediction = (a[rng.permutation(a.n_obs)].copy() for a in (scene.truth, scene.prediction))
    refuse_others(
        values,
        trial.scores(replace(scene, truth=truth, prediction=prediction, train=scene.train[::-1].copy())),
        "rows in another order",
    )


def check_gene_order(trial: ScorerTrial) -> None:
    """The order of the genes does not matter."""
    order = np.random.default_rng(7).permutation(trial.scene.truth.n_vars)
    refuse_others(
        trial.steady(), trial.scores(map_data(trial.scene, lambda a: a[:, order].copy())), "genes in another order"
    )


def check_same_values(trial: ScorerTrial) -> None:
    """The same seed gives the same values."""
    trial.steady()


def check_inputs_unchanged(trial: ScorerTrial) -> None:
    """The hook does not change its inputs: truth, prediction, controls, training means, screen, parameters."""
    _, changed = trial.raw()
    if changed:
        raise ContractError(f"{' and '.join(changed)} changed; work on a copy: {copy_hint(changed[0])}")


def check_no_state(trial: ScorerTrial) -> None:
    """The values are the same after another call in the same process: no state is kept in a module."""

    def difference(first: pd.Series, second: pd.Series) -> str:
        try:
            refuse_others(first, second, "the values are others")
        except ContractError as error:
            return str(error)
        return ""

    scene = trial.make_scene(LARGE, OTHER_SCREEN)
    others = [
        lambda params: trial.call(scene, OTHER_SEED, params), lambda params: trial.call(trial.scene, params=params),
    ]  # fmt: skip
    module, params = trial.subject.ref.module, trial.offer.params
    check_kept_nothing(module, trial.steady(), lambda: trial.scores(trial.scene), others, difference, params)


def check_nan(trial: ScorerTrial) -> None:
    """A query with missing values gets no score, whether some or all of them are missing."""
    trial.noisy()
    query = QUERIES[0]
    for share, missing in ((1, "all values"), (2, "half of the values")):
        prediction = trial.scene.prediction.copy()
        row = list(prediction.obs["perturbation"]).index(query)
        prediction.X[row, ::share] = np.nan
        values = trial.scores(replace(trial.scene, prediction=prediction))
        _no_number(values, query, f"{missing} predicted for {query!r} are NaN", PARTIAL if share > 1 else ())


def _no_number(values: pd.Series, query: str, situation: str, excused: tuple[str, ...] = ()) -> None:
    """Raise an error if a query has a value."""
    index = values.index
    has_value = (index.get_level_values("perturbation") == query) & ~index.get_level_values("variant").isin(excused)
    if has_value.any():
        raise ContractError(
            f"{situation}, and {name_of_value(index[has_value][0])} is {values[has_value].iloc[0]!r}; "
            "expected NaN or no row"
        )


def check_unanswered(trial: ScorerTrial) -> None:
    """An unanswered query gets no score, and the other queries get theirs."""
    trial.noisy()
    scene, query = trial.scene, QUERIES[1]
    answered = scene.prediction[(scene.prediction.obs["perturbation"] != query).to_numpy()].copy()
    values = trial.scores(replace(scene, prediction=answered))
    _no_number(values, query, f"{query!r} is not answered")
    if trial.metrics and not len(values):
        raise ContractError(f"{query!r} is not answered, and no other query has a value either")


SCORER_CHECKS: dict[str, Callable[[ScorerTrial], None]] = {
    "table": check_table, "inputs_unchanged": check_inputs_unchanged, "perfect": check_perfect,
    "direction": check_direction, "same_values": check_same_values, "no_state": check_no_state,
    "relabelled": check_relabelled, "row_order": check_row_order, "gene_order": check_gene_order, "nan": check_nan,
    "unanswered": check_unanswered,
}  # fmt: skip
