"""The scorer ``context_error``: whether a transfer between contexts fails where the contexts differ.

Definition: doi 10.1038/s41592-025-02772-6, Extended Data Figure 9b and c; ``docs/metrics.md``. Its slopes are tables:
none of them is better for being smaller or larger.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pertharness import ScorerOffer, Scores, TableOffer, control_mean

from pertharness_scorers.answers import Answers, long_form, match_answers
from pertharness_scorers.distances import pearson_delta

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_REFERENCE = "10.1038/s41592-025-02772-6"
OFFER = ScorerOffer(
    name="context_error",
    summary="Errors against the difference between the contexts of this dataset and of each reference",
    tables=(
        TableOffer(
            name="context_error", level="task", summary="Slope and standard error per reference", reference=_REFERENCE
        ),
        TableOffer(
            name="context_error_points", level="entry", summary="The genes and perturbations behind the slopes",
            reference=_REFERENCE,
        ),
    ),
    tasks=("transfer",),
    params={"n_top": 1000},
)  # fmt: skip


def score_context_error(
    truth: AnnData, prediction: AnnData, controls: AnnData, train: AnnData, references: Mapping[str, AnnData],
    params: Mapping[str, Any],
) -> Scores:  # fmt: skip
    """Return for each reference the points of both relations, and the line through each; no scores.

    Returns
    -------
    Scores
        ``context_error_points``: reference, panel, name, x, y. Panel ``genes``: a gene of the panel that both datasets
        measure and the model predicts; x: absolute difference of the control means; y: absolute error, mean over
        perturbations. Panel ``perturbations``: x: control mean of the target here minus there, mean over its targets
        that both measure; y: ``pearson_delta`` on the panel. ``context_error``: reference, panel, slope, se, n.

    Raises
    ------
    DataError
        If `n_top` is below 1, or a reference has no control.
    """
    import pandas as pd

    answers = match_answers(truth, prediction, controls, train, params.get("n_top", 1000))
    here = pd.Series(control_mean(controls), index=controls.var_names)
    parts = [
        table.assign(reference=name, panel=panel)
        for name, reference in references.items()
        for panel, table in points_of(answers, here, reference).items()
    ]
    columns = ["reference", "panel", "name", "x", "y"]
    points = pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)
    lines = pd.DataFrame(
        [
            (part["reference"].iloc[0], part["panel"].iloc[0], *fit_line(part["x"].to_numpy(), part["y"].to_numpy()))
            for part in parts
            if len(part)
        ],
        columns=["reference", "panel", "slope", "se", "n"],
    )
    return Scores(long_form("context_error", {}), {"context_error": lines, "context_error_points": points})


def points_of(answers: Answers, here: pd.Series, reference: AnnData) -> dict[str, pd.DataFrame]:
    """Return name, x and y of the two relations with one reference; undefined points are left out.

    Parameters
    ----------
    here
        Control means of all genes of this dataset, indexed by gene.
    reference
        Means of the perturbations in another context, or its cells; with its control.
    """
    import pandas as pd

    there = pd.Series(control_mean(reference), index=reference.var_names)
    difference = (here - there.reindex(here.index)).dropna()
    defined = answers.defined()
    errors = np.abs(answers.yhat - answers.y)[defined]
    shared = ~answers.missing & np.isin(answers.genes, difference.index) & defined.any()
    genes = answers.genes[shared]
    delta = pearson_delta(answers.yhat, answers.y, answers.y0, np.ones(answers.y.shape, dtype=bool))
    targets = [[target for target in of_label if target in difference.index] for of_label in answers.targets]
    moved = [float(difference[list(measured)].mean()) if measured else np.nan for measured in targets]
    perturbations = pd.DataFrame({"name": answers.labels, "x": np.array(moved, dtype=float), "y": delta})
    return {
        "genes": pd.DataFrame(
            {"name": genes, "x": difference[genes].abs().to_numpy(), "y": errors[:, shared].sum(axis=0) / defined.sum()}
            if len(genes)
            else {"name": [], "x": [], "y": []}
        ),
        "perturbations": perturbations.dropna().reset_index(drop=True),
    }


def fit_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, int]:
    """Return slope, its standard error (n - 2) and n of the least-squares line.

    Agrees with ``scipy.stats.linregress``. NaN where undefined: the slope where x has no two values, the error besides
    for fewer than three points.
    """
    n = len(x)
    if n == 0 or x.min() == x.max():
        return np.nan, np.nan, n
    dx = x - x.mean()
    spread = float(dx @ dx)
    slope = float(dx @ y) / spread
    residuals = y - y.mean() - slope * dx
    se = float(np.sqrt(residuals @ residuals / (n - 2) / spread)) if n > 2 else np.nan
    return slope, se, n
