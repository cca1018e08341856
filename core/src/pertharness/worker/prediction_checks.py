"""Check the contract of ``predict``: form, genes, queries, values and notes of a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness.worker.refusals import Refuse, check_anndata, check_known

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def check_prediction(prediction: Any, controls: AnnData, queries: list[str], refuse: Refuse) -> None:
    """Raise an error for a prediction that breaks the contract."""
    check_form(prediction, refuse)
    check_genes(prediction.var_names, controls.var_names, refuse)
    check_queries(prediction, queries, refuse)
    check_values(prediction, refuse)
    check_bounds(prediction, refuse)
    check_notes(prediction, refuse)


def check_form(prediction: Any, refuse: Refuse) -> None:
    """Raise an error for a prediction that is not an AnnData with labelled rows."""
    check_anndata(prediction, refuse)
    if "perturbation" not in prediction.obs:
        raise refuse("obs has no column 'perturbation'; pertharness.make_prediction makes the right form")


def check_genes(genes: pd.Index, expected: pd.Index, refuse: Any) -> None:
    """Raise an error for the first difference between the genes of a prediction and the expected ones."""
    if list(genes) == list(expected):
        return
    absent, extra = [g for g in expected if g not in set(genes)], [g for g in genes if g not in set(expected)]
    if absent or extra:
        problem = (
            f"genes are missing: {len(absent)} (first: {absent[:1]}), "
            f"and not of the dataset: {len(extra)} (first: {extra[:1]})"
        )
    elif len(genes) > len(expected):
        repeated = genes[genes.duplicated()][0]
        problem = f"duplicate gene {repeated!r}"
    else:
        position = next(i for i, (a, b) in enumerate(zip(genes, expected, strict=True)) if a != b)
        problem = (
            f"the genes are in another order (gene {position} is {genes[position]!r}, expected {expected[position]!r})"
        )
    raise refuse(f"{problem}; var_names must equal controls.var_names")


def check_queries(prediction: AnnData, queries: list[str], refuse: Refuse) -> None:
    """Raise an error for queries that are answered twice, neither answered nor declined, or not requested."""
    answered = [str(label) for label in prediction.obs["perturbation"]]
    check_known("query", answered, queries, refuse)
    unanswered = _reasons(prediction, "unanswered", "query", refuse)
    check_known("unanswered query", unanswered, queries, refuse)
    both = sorted(set(answered) & set(unanswered))
    if both:
        raise refuse(f"the query {both[0]!r} is both answered and in uns['unanswered']")
    silent = [query for query in queries if query not in set(answered) and query not in unanswered]
    if silent:
        raise refuse(
            f"{len(silent)} of {len(queries)} queries are neither answered nor in uns['unanswered'] "
            f"(first: {silent[0]!r}); add a row for each, or the reason why it is not answered"
        )


def _reasons(prediction: AnnData, field: str, kind: str, refuse: Refuse) -> Mapping[str, Any]:
    """Return a field of ``uns`` with the reasons why something is missing."""
    reasons = prediction.uns.get(field, {})
    if not isinstance(reasons, Mapping):
        raise refuse(f"uns[{field!r}] is a {type(reasons).__name__}, expected a dict: {kind} -> reason")
    return reasons


def check_values(prediction: AnnData, refuse: Refuse) -> None:
    """Raise an error for values that are not finite, except for genes in ``uns["missing_genes"]``."""
    values = as_matrix(prediction)
    if values.dtype.kind not in "fiu":
        raise refuse(f"X has the type {values.dtype.name!r}, expected numbers")
    missing = _reasons(prediction, "missing_genes", "gene", refuse)
    unknown = sorted(set(missing) - set(prediction.var_names))
    if unknown:
        raise refuse(f"uns['missing_genes'] names {unknown[0]!r}, which is not a gene of the dataset")
    is_missing = np.asarray(prediction.var_names.isin(list(missing)))
    has_values = is_missing & ~np.isnan(values).all(axis=0)
    if has_values.any():
        gene = prediction.var_names[has_values][0]
        raise refuse(f"uns['missing_genes'] names {gene!r}, which has values; make the whole column NaN")
    bad = ~np.isfinite(values) & ~is_missing
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise refuse(
            f"{int(bad.sum())} of {bad.size} values are not finite (first: {values[row, column]} for "
            f"{_place(prediction, row, column)}); leave such queries unanswered, or name genes that cannot be "
            "predicted in uns['missing_genes']"
        )


def check_bounds(prediction: AnnData, refuse: Refuse) -> None:
    """Raise an error for values that are too large for log1p of counts per 10 000, or for a difference of two of them.

    Negative values are allowed, because models that add up changes may predict values a little below 0; see
    `describe_negative_values`.
    """
    from pertharness.data.canonical import LOG1P_CEILING

    values = as_matrix(prediction)
    outside = np.abs(values) > LOG1P_CEILING  # False for NaN
    if outside.any():
        row, column = np.argwhere(outside)[0]
        raise refuse(
            f"{int(outside.sum())} of {outside.size} values are out of range (first: {values[row, column]:g} for "
            f"{_place(prediction, row, column)}); expected log1p of counts per 10 000, which ends at "
            f"{LOG1P_CEILING:.2f}, and at least -{LOG1P_CEILING:.2f}: return means of log-normalised expression, not "
            "counts or scaled values"
        )


def check_notes(prediction: AnnData, refuse: Refuse) -> None:
    """Raise an error for notes that are not a list of texts."""
    notes = prediction.uns.get("notes", [])
    if not isinstance(notes, (list, tuple)) or not all(isinstance(note, str) for note in notes):
        raise refuse(f"uns['notes'] is {notes!r:.200}, expected a list of texts")


def describe_negative_values(prediction: AnnData) -> list[str]:
    """Return a note with the number of negative values and the lowest one; no note if there are none."""
    values = as_matrix(prediction)
    below = values < 0
    if not below.any():
        return []
    row, column = np.unravel_index(int(np.nanargmin(values)), values.shape)
    return [
        f"{int(below.sum())} of {int(np.isfinite(values).sum())} values are below 0 (lowest: {values[row, column]:.3g} "
        f"for {_place(prediction, int(row), int(column))})"
    ]


def _place(prediction: AnnData, row: int, column: int) -> str:
    """Return the query and the gene of a value, for messages."""
    return f"the query {str(prediction.obs['perturbation'].iloc[row])!r}, gene {str(prediction.var_names[column])!r}"


def as_matrix(prediction: AnnData) -> np.ndarray:
    """Return the values of a prediction, dense, shape (n_answered, n_genes)."""
    from scipy import sparse

    return np.asarray(prediction.X.toarray() if sparse.issparse(prediction.X) else prediction.X)
