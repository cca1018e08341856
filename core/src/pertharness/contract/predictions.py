"""The form of a prediction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from anndata import AnnData


def make_prediction(
    means: Mapping[str, np.ndarray], genes: Iterable[str], unanswered: Mapping[str, str] | None = None,
    missing_genes: Mapping[str, str] | None = None, notes: Sequence[str] = (),
) -> AnnData:  # fmt: skip
    """Return a prediction in the form that ``predict`` must return.

    Parameters
    ----------
    means
        Query -> predicted mean expression, shape (n_genes,), log1p of counts per 10 000.
    genes
        Genes of the dataset, in its order.
    unanswered
        Query -> reason why the model does not answer it.
    missing_genes
        Gene -> reason why the model cannot predict it; its column must be NaN in all of `means`.
    notes
        Remarks for readers of the results, such as training cells that were not used; one line each.

    Returns
    -------
    AnnData
        Shape (n_answered, n_genes), float64.
    """
    import pandas as pd
    from anndata import AnnData

    names: Sequence[str] = list(genes)
    rows = np.array(list(means.values()), dtype=np.float64).reshape(len(means), len(names))
    obs = pd.DataFrame({"perturbation": list(means)}, index=[str(i) for i in range(len(means))])
    optional = {"missing_genes": dict(missing_genes or {}), "notes": list(notes)}
    uns = {"unanswered": dict(unanswered or {}), **{field: value for field, value in optional.items() if value}}
    return AnnData(X=rows, obs=obs, var=pd.DataFrame(index=names), uns=uns)
