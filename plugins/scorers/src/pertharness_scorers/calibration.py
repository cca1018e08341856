"""The scorer ``calibration``: the noise of the observed means, and how many measured cells a model is worth.

The observed mean y of n cells has E |y - mu|^2 = S / n, with S the sum over the panel of the variance between cells:
the *noise floor*, below which no squared l2 against y can be expected. A prediction that does not know these cells has
E |yhat - y|^2 = |yhat - mu|^2 + S / n, so e^2 - S / n estimates its own squared error; the mean of m fresh cells has
the squared error S / m. A model is worth the m for which both are equal, summed over the perturbations:
m = sum S / sum (e^2 - S / n). ``docs/metrics.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pertharness import CONTROL, MetricOffer, ScorerOffer, Scores, Skip, TableOffer, control_mean

from pertharness_scorers.answers import long_form, match_answers
from pertharness_scorers.distances import l2, pearson, pearson_delta
from pertharness_scorers.panel import top_genes

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

OFFER = ScorerOffer(
    name="calibration",
    summary="What the noise of the observed means says of scores",
    metrics=(
        MetricOffer(
            id="cell_equivalents", level="task", direction="higher", best=None, variants=("default", "share"),
            summary="Number of measured cells of a perturbation whose mean has the model's squared error",
        ),
    ),
    tables=(
        TableOffer(
            name="noise", level="dataset", summary="Noise floor and reliability of each perturbation's observed mean"
        ),
    ),
    params={"n_top": 1000},
    calibrates=True,
)  # fmt: skip


def score_calibration(
    truth: AnnData, prediction: AnnData, controls: AnnData, train: AnnData, screen: AnnData, params: Mapping[str, Any]
) -> Scores:
    """Return the cell equivalents of a model, and the table ``noise`` of `noise_of`.

    Raises
    ------
    Skip
        If the truth comes without halves of the cells.
    DataError
        If `n_top` is below 1.
    """
    if not {"half_a", "half_b"} <= {*truth.layers}:
        raise Skip("the truth has no halves of the cells; they are there in a run that calibrates (--calibrate)")
    n_top = params.get("n_top", 1000)
    answers = match_answers(truth, prediction, controls, train, n_top)
    squares = l2(answers.yhat, answers.y, answers.y0, np.ones(answers.y.shape, dtype=bool)) ** 2
    panel = top_genes(control_mean(controls), n_top)
    row_of = {str(label): row for row, label in enumerate(truth.obs["perturbation"])}
    rows = [row_of[label] for label in answers.labels]
    floor, n_cells = noise_floor(truth, panel)[0][rows], _n_cells(truth)[rows]
    values = {
        "default": cell_equivalents(squares, floor, n_cells),
        "share": cell_equivalents(squares, floor, np.ones(len(rows))),
    }
    table = long_form("cell_equivalents", {variant: np.array([value]) for variant, value in values.items()})
    return Scores(table, {"noise": noise_of(screen, control_mean(controls), panel)})


def cell_equivalents(squares: np.ndarray, floor: np.ndarray, n_cells: np.ndarray) -> float:
    """Return m = sum S / sum (e^2 - S / n) with S = n x floor; NaN where the error is not above the noise.

    Parameters
    ----------
    squares, floor, n_cells
        Squared l2 against the observed mean, noise floor S / n and number of cells of each perturbation, shape
        (n_perturbations,); those with a NaN are left out. With 1 for every n the result is the share of the measured
        cells: c for which the mean of c n cells of each perturbation has the model's squared error.
    """
    defined = np.isfinite(squares) & np.isfinite(floor) & np.isfinite(n_cells)
    excess = float((squares - floor)[defined].sum())
    return float((n_cells * floor)[defined].sum()) / excess if excess > 0 else np.nan


def noise_floor(means: AnnData, panel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the expected squared l2 of each observed mean to its expectation over the panel, and what it is from.

    From the variance of the cells where it and their number are known, sum s^2 / n; else from the halves, each of n / 2
    cells, sum (a - b)^2 / 4, of which the expectation is the same. NaN where neither is known.

    Parameters
    ----------
    means
        With the layers of a run that calibrates.
    panel
        Indices of genes.

    Returns
    -------
    floor, source : ndarray
        Shape (n_obs,); `source` is ``variance``, ``halves`` or empty.
    """
    halves = _half(means, "half_a", panel) - _half(means, "half_b", panel)
    from_halves = (halves**2).sum(axis=1) / 4
    from_variance = np.full(means.n_obs, np.nan)
    if "variance" in means.layers:
        from_variance = _half(means, "variance", panel).sum(axis=1) / _n_cells(means)
    has_variance = np.isfinite(from_variance)
    source = np.where(has_variance, "variance", np.where(np.isfinite(from_halves), "halves", ""))
    return np.where(has_variance, from_variance, from_halves), source


def noise_of(screen: AnnData, y0: np.ndarray, panel: np.ndarray) -> pd.DataFrame:
    """Return for each perturbation how well its mean is known, over the panel.

    Returns
    -------
    pandas.DataFrame
        perturbation; n_cells (empty if unknown); noise_floor and its source, see `noise_floor`; reliability_pearson and
        reliability_pearson_delta: correlation of the two halves, of their change from control, stepped up to the whole
        by `spearman_brown`; empty where there are no halves. The control has no change.
    """
    import pandas as pd

    floor, source = noise_floor(screen, panel)
    a, b, everywhere = _half(screen, "half_a", panel), _half(screen, "half_b", panel), np.asarray(y0)[panel]
    keep = np.ones(a.shape, dtype=bool)
    is_control = (screen.obs["perturbation"].astype(str) == CONTROL).to_numpy()
    of_change = spearman_brown(pearson_delta(a, b, everywhere, keep))
    return pd.DataFrame(
        {
            "perturbation": screen.obs["perturbation"].astype(str).to_numpy(),
            "n_cells": pd.array([None if np.isnan(n) else int(n) for n in _n_cells(screen)], dtype="Int64"),
            "noise_floor": floor,
            "source": source,
            "reliability_pearson": spearman_brown(pearson(a, b, everywhere, keep)),
            "reliability_pearson_delta": np.where(is_control, np.nan, of_change),
        }
    )


def spearman_brown(r: np.ndarray) -> np.ndarray:
    """Return the reliability of the whole from the correlation r of its halves, 2 r / (1 + r); NaN where r is -1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        stepped_up: np.ndarray = np.where(r > -1, 2 * r / (1 + r), np.nan)
    return stepped_up


def _half(means: AnnData, layer: str, panel: np.ndarray) -> np.ndarray:
    values: np.ndarray = np.asarray(means.layers[layer], dtype=np.float64)[:, panel]
    return values


def _n_cells(means: AnnData) -> np.ndarray:
    """Return the number of cells of each row, NaN if unknown."""
    if "n_cells" not in means.obs:
        return np.full(means.n_obs, np.nan)
    numbers: np.ndarray = means.obs["n_cells"].to_numpy(dtype=np.float64)
    return numbers
