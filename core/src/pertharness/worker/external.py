"""Predictions made elsewhere: an h5ad with a row per perturbation, brought into the harness's form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness.errors import DataError
from pertharness.labels import CONTROL, join_targets
from pertharness.predictions import make_prediction

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def read_prediction(
    path: Path, genes: pd.Index, queries: list[str], given: Mapping[str, str] | None = None
) -> tuple[AnnData, list[str]]:
    """Give a prediction that was made elsewhere, and what was done to it.

    Parameters
    ----------
    path
        An h5ad: ``obs["perturbation"]`` (``A``, ``A+B`` in any order, ``A+ctrl``), one row per perturbation, var_names
        the dataset's gene symbols in any order, X the mean log expression (log1p of counts per 10 000).
    genes
        Genes of the dataset; one that the file lacks becomes a column of NaN.
    queries
        What was held out; one that the file lacks is not answered, never filled.
    given
        Label as the dataset spells it -> perturbation: such labels are understood too.

    Raises
    ------
    DataError
        If the file cannot be read, has no such labels, two rows for one perturbation, no gene or no query of the
        dataset, or values that are not finite.
    """
    from pertharness.canonical import LOG1P_CEILING, read

    adata = read(path)
    rows = _rows_by_label(adata, path, given or {})
    place = adata.var_names.get_indexer(genes)
    wanted = [query for query in queries if query in rows]
    if not wanted or (place < 0).all():
        what, first = ("perturbations", queries[:3]) if not wanted else ("genes", list(genes[:3]))
        raise DataError(
            f"{str(path)!r} holds none of the {what} that are asked for (such as {first}); is it for another dataset?"
        )
    values = _dense(adata.X[[rows[query] for query in wanted]])[:, place]
    bad = np.argwhere(~np.isfinite(values) & (place >= 0))
    if len(bad):
        row, column = bad[0]
        raise DataError(
            f"{str(path)!r} holds {values[row, column]} for the perturbation {wanted[row]!r}, gene {genes[column]!r}; "
            "leave such perturbations or genes out"
        )
    highest = np.nanmax(np.where(place >= 0, values, np.nan))
    if highest > LOG1P_CEILING:
        raise DataError(
            f"{str(path)!r} holds values up to {highest:g}, log1p of counts per 10 000 ends at {LOG1P_CEILING:.2f}: "
            "these look like counts; give the mean of the log-normalised expression"
        )
    means = dict(zip(wanted, np.where(place >= 0, values, np.nan), strict=True))
    missing = [query for query in queries if query not in rows]
    prediction = make_prediction(means, genes, dict.fromkeys(missing, "not in the file of predictions"))
    prediction.uns["missing_genes"] = {str(gene): "not in the file" for gene in genes[place < 0]}
    unused = {
        "rows": (len(rows) - len(wanted), "held-out perturbations of this split"),
        "genes": (adata.n_vars - int((place >= 0).sum()), "genes of the dataset"),
    }
    left = [f"{n} {what} of {path.name} are not {those}: left aside" for what, (n, those) in unused.items() if n]
    return prediction, left


def _dense(matrix: Any) -> np.ndarray:
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=np.float64)


def _rows_by_label(adata: AnnData, path: Path, given: Mapping[str, str]) -> dict[str, int]:
    """Give the row of each perturbation; refuse labels and genes that are missing or come twice."""
    if "perturbation" not in adata.obs:
        raise DataError(f"{str(path)!r}: obs has no column 'perturbation' (columns: {list(adata.obs.columns)}); add it")
    if adata.X is None:
        raise DataError(f"{str(path)!r}: there is no X; give the mean log expression")
    try:
        labels = [given.get(str(label)) or _canonical(str(label)) for label in adata.obs["perturbation"]]
    except DataError as error:
        raise DataError(f"{str(path)!r}: {error}") from None
    rows = {label: row for row, label in enumerate(labels)}
    if len(rows) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise DataError(
            f"{str(path)!r}: {labels.count(twice)} rows for the perturbation {twice!r}; give one mean per perturbation"
        )
    if not adata.var_names.is_unique:
        twice = adata.var_names[adata.var_names.duplicated()][0]
        raise DataError(f"{str(path)!r}: the gene {twice!r} comes more than once; give each gene once")
    return rows


def _canonical(label: str) -> str:
    """Give the canonical label of ``A``, ``B+A``, ``A+ctrl``, ``ctrl+A`` or ``ctrl``."""
    return join_targets(part for part in label.split("+") if part not in ("ctrl", CONTROL))
