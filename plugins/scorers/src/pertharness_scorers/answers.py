"""A model's answers with the observations, and the form of their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pertharness import DataError, control_mean, target_genes

from pertharness_scorers.missing import fill_missing
from pertharness_scorers.panel import top_genes

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@dataclass(frozen=True)
class Answers:
    """The answered queries, in the order of the truth, over some of the genes.

    Attributes
    ----------
    labels, targets
        The perturbations, and the genes that are their targets.
    yhat, y
        Predicted and observed, shape (n_answered, n_genes), float64, log1p CP10k. Missing genes have the values of the
        ``mean`` baseline in `yhat`; what else is not finite is NaN.
    y0
        Control mean, shape (n_genes,).
    genes, missing, common
        Names; whether the model does not predict the gene; whether all compared models do (None: not known). Shape
        (n_genes,).
    """

    labels: list[str]
    targets: list[tuple[str, ...]]
    yhat: np.ndarray
    y: np.ndarray
    y0: np.ndarray
    genes: np.ndarray
    missing: np.ndarray
    common: np.ndarray | None

    def defined(self) -> np.ndarray:
        """Return which answers have a value for every gene, shape (n_answered,)."""
        complete: np.ndarray = np.isfinite(self.yhat).all(axis=1)
        return complete


def match_answers(
    truth: AnnData, prediction: AnnData, controls: AnnData, train: AnnData, n_top: int | None = None
) -> Answers:
    """Combine prediction and observation over the panel of `n_top` genes, or all genes if it is None.

    Raises
    ------
    DataError
        If `n_top` is below 1.
    """
    if n_top is not None and n_top < 1:
        raise DataError(f"expected n_top of at least 1 gene, got {n_top!r}; set it in the scorer's parameters")
    y0 = control_mean(controls)
    columns = np.arange(len(y0)) if n_top is None else top_genes(y0, n_top)
    row_of = {label: row for row, label in enumerate(prediction.obs["perturbation"])}
    scored = [(row, label) for row, label in enumerate(truth.obs["perturbation"]) if label in row_of]
    labels = [str(label) for _, label in scored]
    filled, missing = fill_missing(prediction, train)
    yhat = filled[np.ix_(_indices(row_of[label] for _, label in scored), columns)]
    yhat[~np.isfinite(yhat)] = np.nan
    y = np.asarray(truth.X, dtype=np.float64)[np.ix_(_indices(row for row, _ in scored), columns)]
    common = truth.var["common"].to_numpy(dtype=bool)[columns] if "common" in truth.var else None
    genes = truth.var_names.to_numpy()[columns]
    genes_of = target_genes(truth.obs)
    targets = [genes_of[label] for label in labels]
    return Answers(labels, targets, yhat, y, y0[columns], genes, missing[columns], common)


def _indices(rows: Any) -> np.ndarray:
    return np.array(list(rows), dtype=np.intp)


def long_form(
    metric: str, values: Mapping[str, np.ndarray], perturbations: Sequence[str] = (), coordinates: Sequence[Any] = ()
) -> pd.DataFrame:
    """Return the score table: variant -> one value per perturbation, or per coordinate, or one alone.

    Returns
    -------
    pandas.DataFrame
        Columns of ``pertharness.contract.scores.COLUMNS``.
    """
    import pandas as pd
    from pertharness import COLUMNS

    n_rows = len(perturbations) or len(coordinates) or max((len(column) for column in values.values()), default=0)
    n_variants = len(values)
    # All at once: concatenating one table per variant with pandas would take longer than a small split's scores.
    columns = {
        "perturbation": (list(perturbations) or [""] * n_rows) * n_variants,
        "gene": "",
        "metric": metric,
        "variant": [variant for variant in values for _ in range(n_rows)],
        "coordinate": (list(coordinates) or [""] * n_rows) * n_variants,
        "value": np.concatenate([np.empty(0), *values.values()]),
    }
    table: pd.DataFrame = pd.DataFrame(columns, columns=list(COLUMNS))
    return table
