"""CPA, the compositional perturbation autoencoder, run through the published package cpa-tools 0.8.8.

Lotfollahi et al., Molecular Systems Biology 2023, doi 10.15252/msb.202211517. The package is imported when a model is
trained, not before. What is done here, and what is left to upstream: README.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pertharness import (
    Card,
    ModelOffer,
    Skip,
    Task,
    hookimpl,
    make_prediction,
    read_settings,
    settings_of,
    targets_of,
)  # fmt: skip

from pertharness_cpa.settings import PUBLISHED_SEED, Settings

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from anndata import AnnData

    from pertharness_cpa.layout import Screen
    from pertharness_cpa.training import Trained

OFFER = ModelOffer(
    name="cpa",
    summary="Autoencoder with a vector per perturbed gene (cpa-tools 0.8.8); answers doubles of genes seen alone. "
    "Stops early on training cells: the published script did so on evaluated doubles, which is never done here",
    tasks=("double",),
    input="cells",
    **settings_of(Settings),
    reference="10.15252/msb.202211517",
    licence="BSD-3-Clause (its LICENSE; its metadata say MIT)",
    pretraining="none",
    pretraining_overlap="no",
    information="training",
)


@dataclass(frozen=True)
class Fitted:
    """Training cells in upstream's form, with the trained model once there is one."""

    screen: Screen
    settings: Settings
    trained: Trained | None = None


@hookimpl
def describe() -> Card:
    """Return the card."""
    return Card(models=(OFFER,))


@hookimpl
def fit(train: AnnData, task: Task, params: Mapping[str, Any], device: str, seed: int, workdir: Path) -> Fitted:
    """Recover counts, and train.

    In the procedure ``paper`` upstream knows by name what it will be asked, as it did when published; the queries come
    with `predict`, which trains then.
    """
    from pertharness_cpa.layout import read_screen

    if task.name == "single":
        raise Skip("CPA learns a vector per perturbed gene and has none for unseen genes; it predicts doubles only")
    settings = read_settings(Settings, params, what=OFFER.name)
    fitted = Fitted(read_screen(train, settings.own), settings)
    if settings.own.procedure == "paper":
        return fitted
    return replace(fitted, trained=_train(fitted, (), device, seed, workdir))


@hookimpl
def predict(model: object, controls: AnnData, queries: list[str], device: str, seed: int, workdir: Path) -> AnnData:
    """Predict doubles of genes that were seen alone as counterfactuals of the controls."""
    from pertharness_cpa.layout import why_not

    assert isinstance(model, Fitted)
    declined = {query: why_not(query, model.screen.singles) for query in queries}
    unanswered = {query: reason for query, reason in declined.items() if reason}
    answerable = [query for query in queries if query not in unanswered]
    if not answerable:
        raise Skip(
            f"CPA answers none of the {len(queries)} queries: {next(iter(unanswered.values()), 'there are no queries')}"
        )
    trained = model.trained or _train(model, sorted(answerable), device, seed, workdir)
    means = _counterfactuals(replace(model, trained=trained), answerable, seed)
    return make_prediction(means, controls.var_names, unanswered, notes=model.screen.notes)


def _train(fitted: Fitted, held_out: Sequence[str], device: str, seed: int, workdir: Path) -> Trained:
    """Train on the screen, with rows for the conditions that are held out."""
    import numpy as np

    from pertharness_cpa.layout import lay_out, validation_rows
    from pertharness_cpa.training import train_cpa

    own = fitted.settings.own
    is_valid = validation_rows(len(fitted.screen.conditions), own.validation_share, np.random.default_rng(seed))
    adata = lay_out(fitted.screen, is_valid, held_out)
    upstream_seed = PUBLISHED_SEED if own.procedure == "paper" else seed
    return train_cpa(adata, fitted.settings, seed=upstream_seed, device=device, folder=workdir)


def _counterfactuals(fitted: Fitted, queries: Sequence[str], seed: int) -> dict[str, np.ndarray]:
    """Return the mean expression of each query, over the controls."""
    from pertharness_cpa.predicting import drawn_controls, mean_expression, predict_counts

    assert fitted.trained is not None
    own, screen = fitted.settings.own, fitted.screen
    controls = screen.controls()
    rows = controls[drawn_controls(len(controls), own.control_cells, seed)]
    cells = fitted.trained.cpa.adata[rows].copy()  # the screen's cells come first in it, in their order
    cells.obs_names_make_unique()
    means = {}
    for query in queries:
        predicted = predict_counts(fitted.trained, cells, screen.counts[rows], [targets_of(query)] * len(rows))
        means[query] = mean_expression(predicted, screen.totals[rows], own.output_scale)
    return means
