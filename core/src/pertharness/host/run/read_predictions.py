"""Read predictions of a run: choose one of its attempts, and read its file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness.contract.errors import DataError, RecipeError, StoreError
from pertharness.contract.stages import PREDICTION
from pertharness.contract.texts import storable
from pertharness.host.leaderboard.comparison import model_label
from pertharness.host.run.run_folder import state_of
from pertharness.host.store.records import Store
from pertharness.host.text.did_you_mean import expected

if TYPE_CHECKING:
    from anndata import AnnData


def find_attempt(manifest: Mapping[str, Any], model: str, **choices: str | int | None) -> dict[str, Any]:
    """Return the one attempt of a model that has the values of `choices`.

    Parameters
    ----------
    manifest
        Of the run.
    model
        As it stands on the leaderboard, such as ``mean`` or ``linear[k=4]``.
    choices
        Values of ``dataset``, ``task``, ``seed`` and ``training_seed``; None: any.

    Raises
    ------
    RecipeError
        If there is none, or there are several.
    """
    labels = [model_label(attempt["model"], attempt["params"]) for attempt in manifest["attempts"]]
    attempts: list[dict[str, Any]] = [
        attempt for attempt, label in zip(manifest["attempts"], labels, strict=True) if label == model
    ]
    if not attempts:
        raise RecipeError(f"the run has no model {model!r}; {expected(model, list(dict.fromkeys(labels)))}")
    for name, value in choices.items():
        if value is None:
            continue
        values = list(dict.fromkeys(attempt[name] for attempt in attempts))
        if value not in values:
            raise RecipeError(f"the run has no {name} {value!r} of the model {model!r}; expected one of {values}")
        attempts = [attempt for attempt in attempts if attempt[name] == value]
    if len(attempts) > 1:
        several = {name: list(dict.fromkeys(attempt[name] for attempt in attempts)) for name in choices}
        names = " and ".join(f"{name} (one of {values})" for name, values in several.items() if len(values) > 1)
        raise RecipeError(f"the run has {len(attempts)} predictions of the model {model!r}; choose {names or 'one'}")
    return attempts[0]


def read_prediction(manifest: Mapping[str, Any], attempt: Mapping[str, Any], records: Store) -> AnnData:
    """Return the prediction of an attempt.

    Returns
    -------
    AnnData
        Shape (n_answered, n_genes), float64, log1p of counts per 10 000; ``obs["perturbation"]``; what the model left
        out, if anything, in ``uns["unanswered"]`` with ``uns["reasons"]``, of equal length.

    Raises
    ------
    DataError
        If the model has no prediction, with its state and the reason.
    StoreError
        If its record is not in the store.
    """
    from pertharness.data.expression import read

    label = model_label(attempt["model"], attempt["params"])
    state, reason = state_of(manifest, attempt)
    if state != "done":
        raise DataError(f"there is no prediction of the model {label!r} ({state}: {reason})")
    path = records.record("predictions", attempt["prediction"]) / PREDICTION
    if not path.exists():
        raise StoreError(
            f"the prediction of the model {label!r} is not in the store {str(records.root)!r}; "
            "name the run's store, or run it again"
        )
    prediction = read(path)
    status = records.status("predictions", attempt["prediction"])
    unanswered = status.unanswered if status else {}
    prediction.uns = (
        {
            "unanswered": np.array([storable(query) for query in unanswered], dtype=object),
            "reasons": np.array([storable(reason) for reason in unanswered.values()], dtype=object),
        }
        if unanswered
        else {}
    )
    return prediction
