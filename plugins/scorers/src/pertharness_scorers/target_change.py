"""The scorer ``target_change``: what the perturbations did to their own target genes; of the observations alone.

Definition: doi 10.1038/s41592-025-02772-6, Extended Data Figure 1c; ``docs/metrics.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pertharness import ScorerOffer, Scores, TableOffer, control_mean, target_genes

from pertharness_scorers.answers import long_form

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_SUMMARY = "Expression of each target gene in the control and where it is perturbed"
OFFER = ScorerOffer(
    name="target_change",
    summary=_SUMMARY,
    tables=(
        TableOffer(name="target_change", level="dataset", summary=_SUMMARY, reference="10.1038/s41592-025-02772-6"),
    ),
)


def score_target_change(screen: AnnData) -> Scores:
    """Return the table of `change_of_targets`; no scores."""
    return Scores(long_form("target_change", {}), {"target_change": change_of_targets(screen)})


def change_of_targets(screen: AnnData) -> pd.DataFrame:
    """Return for each target that is measured its expression without and with the perturbation.

    Parameters
    ----------
    screen
        Means of all perturbations, control included, log1p CP10k.

    Returns
    -------
    pandas.DataFrame
        target; y0, its control mean; y, its mean over the conditions that target it, each counted once, doubles
        included; n_conditions. In the order in which the targets first appear; those that are not measured are absent.
    """
    import pandas as pd

    column_of = {gene: column for column, gene in enumerate(screen.var_names)}
    rows_of: dict[str, list[int]] = {}
    genes_of = target_genes(screen.obs)
    for row, label in enumerate(screen.obs["perturbation"]):
        for target in genes_of[str(label)]:
            if target in column_of:
                rows_of.setdefault(target, []).append(row)
    x, y0 = np.asarray(screen.X, dtype=np.float64), control_mean(screen)
    return pd.DataFrame(
        [
            (target, y0[column_of[target]], x[rows, column_of[target]].mean(), len(rows))
            for target, rows in rows_of.items()
        ],
        columns=["target", "y0", "y", "n_conditions"],
    )
