"""Predictions made elsewhere: an h5ad with a row per perturbation, brought into the harness's form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pertharness.errors import DataError
from pertharness.labels import CONTROL, join_targets
from pertharness.predictions import make_prediction
from pertharness.streaming import first_value
from pertharness.structure import is_number

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from pertharness.stored import Stored


KINDS = ("mean", "change")
"""What the rows of a file of predictions may be: means, or changes from the mean of the controls."""
_NOT_ALIKE, _ALIKE = 0.5, 0.9
"""Correlations with the control mean: of changes below, of means above. Perturbed cells are mostly like others."""


def read_prediction(
    path: Path,
    genes: pd.Index,
    queries: list[str],
    given: Mapping[str, str] | None = None,
    *,
    y0: np.ndarray | None = None,
    kind: str | None = None,
) -> tuple[AnnData, list[str]]:
    """Return a prediction that was made elsewhere, and what was done to it.

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
    y0
        Mean expression of the controls that models see, shape (n_genes,), log1p of counts per 10 000; None: not known,
        so that changes are not recognised.
    kind
        One of `KINDS`: what the rows are said to be. `y0` is added to a ``change``. None: a mean, unless it looks like
        a change, which is refused.

    Raises
    ------
    DataError
        If the file cannot be read, has no such labels, two rows for one perturbation, no gene or no query of the
        dataset, values that are not finite, not numbers, or far from what log1p of counts per 10 000 can be, or rows
        that are changes from the control and not said to be, or said to be and not.
    """
    from pertharness.canonical import open_stored

    stored = open_stored(path)
    rows = _rows_by_label(stored, path, given or {})
    place = stored.var_names.get_indexer(genes)
    wanted = [query for query in queries if query in rows]
    if not wanted or (place < 0).all():
        what, first = ("perturbations", queries[:3]) if not wanted else ("genes", list(genes[:3]))
        raise DataError(
            f"{str(path)!r} holds none of the {what} that are asked for (such as {first}); is it for another dataset?"
        )
    values = _take(stored, [rows[query] for query in wanted], place)
    notes = []
    if y0 is not None:
        _check_kind(values, y0, path, kind)
        if kind == "change":
            values = values + y0
            notes = [f"the rows of {path.name} are changes: the mean of the controls was added"]
    _check_values(values, path, wanted, genes, place >= 0)
    means = dict(zip(wanted, values, strict=True))
    missing = [query for query in queries if query not in rows]
    prediction = make_prediction(means, genes, dict.fromkeys(missing, "not in the file of predictions"))
    prediction.uns["missing_genes"] = {str(gene): "not in the file" for gene in genes[place < 0]}
    unused = {
        "rows": (len(rows) - len(wanted), "held-out perturbations of this split"),
        "genes": (stored.n_vars - int((place >= 0).sum()), "genes of the dataset"),
    }
    notes += [f"{n} {what} of {path.name} are not {those}: left aside" for what, (n, those) in unused.items() if n]
    if below := int((values < 0).sum()):
        notes.append(f"{below} of the values of {path.name} are below 0, the lowest {np.nanmin(values):.3g}")
    return prediction, notes


def _take(stored: Stored, rows: list[int], place: np.ndarray) -> np.ndarray:
    """Return the values of some rows in the dataset's genes, NaN where the file lacks one: (n_rows, n_genes), float64.

    `place`: the column of each gene in the file, -1 where it has none.
    """
    from pertharness.stored import take_rows
    from pertharness.streaming import to_memory

    ascending, back = np.unique(rows, return_inverse=True)
    chosen = to_memory(take_rows(stored.X, ascending))[:, place[place >= 0]]
    values = np.full((len(rows), len(place)), np.nan)
    values[:, place >= 0] = (chosen.toarray() if hasattr(chosen, "toarray") else chosen)[back]
    return values


def _check_kind(values: np.ndarray, y0: np.ndarray, path: Path, kind: str | None) -> None:
    """Refuse changes that are not said to be, and means that are said to be changes.

    A mean is like that of the controls, a change is not, and becomes so by adding it. What decides is the median over
    the perturbations; single values, and their signs, decide nothing.
    """
    alone, added = _median_correlation(values, y0), _median_correlation(values + y0, y0)
    if kind is None and alone < _NOT_ALIKE and added > _ALIKE:
        raise DataError(
            f"{str(path)!r} holds changes from the control, it seems: the median correlation of a row with the mean of "
            f"the controls is {alone:.2f}, and {added:.2f} once that is added; expected the mean log-normalised "
            "expression: have it added with --prediction-kind change, or say --prediction-kind mean if these are means"
        )
    if kind == "change" and alone > _ALIKE:
        raise DataError(
            f"{str(path)!r} holds means, not changes (--prediction-kind change): the median correlation of a row with "
            f"the mean of the controls is {alone:.2f}; leave --prediction-kind out"
        )


def _median_correlation(values: np.ndarray, y0: np.ndarray) -> float:
    """Return the median over the rows of their correlation with `y0` over the genes that they have, constants as 0."""
    correlations = []
    for row in values:
        known = np.isfinite(row)
        x, y = row[known], y0[known]
        varies = len(x) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0
        correlations.append(float(np.corrcoef(x, y)[0, 1]) if varies else 0.0)
    return float(np.median(correlations))


def _check_values(values: np.ndarray, path: Path, queries: list[str], genes: pd.Index, has_gene: np.ndarray) -> None:
    """Refuse values that are no mean of log1p of counts per 10 000; a gene that the file lacks is NaN.

    Sums of effects may lie a little below 0, so what is refused below is as far away as above.
    """
    from pertharness.canonical import LOG1P_CEILING

    faults = {
        "leave such perturbations or genes out": ~np.isfinite(values) & has_gene,
        f"log1p of counts per 10 000 ends at {LOG1P_CEILING:.2f}: these look like counts; give the mean of the "
        "log-normalised expression": values > LOG1P_CEILING,
        f"expected at least {-LOG1P_CEILING:.2f}: give the mean of the log-normalised expression, not a change, a "
        "z-score or a logarithm of something else": values < -LOG1P_CEILING,
    }
    for remedy, is_bad in faults.items():
        if is_bad.any():
            row, column = np.argwhere(is_bad)[0]
            raise DataError(
                f"{str(path)!r} holds {values[row, column]:g} for the perturbation {queries[row]!r}, gene "
                f"{genes[column]!r}; {remedy}"
            )


def _rows_by_label(adata: Stored, path: Path, given: Mapping[str, str]) -> dict[str, int]:
    """Give the row of each perturbation; refuse labels and genes that are missing or come twice."""
    if "perturbation" not in adata.obs:
        raise DataError(f"{str(path)!r}: obs has no column 'perturbation' (columns: {list(adata.obs.columns)}); add it")
    if adata.X is None:
        raise DataError(f"{str(path)!r}: there is no X; give the mean log expression")
    if not is_number(adata.X.dtype):
        raise DataError(
            f"{str(path)!r}: X has the type {adata.X.dtype.name!r}{first_value(adata.X)}; expected numbers: the mean "
            "log expression"
        )
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
