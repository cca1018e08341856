"""Read a file of predictions that were made outside the harness."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness.contract.predictions import make_prediction
from pertharness.datasets.targets import key_of_name
from pertharness.worker.external.file import KINDS as KINDS
from pertharness.worker.external.file import FileChoices, PredictionFile, open_predictions
from pertharness.worker.external.genes import Columns, find_columns
from pertharness.worker.external.labels import DataLabels
from pertharness.worker.external.rows import FileRows, find_rows
from pertharness.worker.external.scale import check_cells, check_kind, check_level, describe_controls
from pertharness.worker.external.values import (
    SAMPLED_ROWS,
    average,
    in_rows,
    refuse_sums,
    refuse_values,
    rows_of,
    survey_rows,
)  # fmt: skip

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

NOT_IN_FILE, ALL_NAN = "not in the file", "NaN in every row of the file"


def read_prediction(
    path: Path,
    genes: pd.Index,
    queries: list[str],
    spellings: Mapping[str, str] | None = None,
    *,
    y0: np.ndarray | None = None,
    choices: FileChoices | None = None,
    ensembl_ids: Mapping[str, str] | None = None,
    perturbations: Collection[str] = (),
    params: Mapping[str, Any] | None = None,
) -> tuple[AnnData, list[str]]:
    """Read a prediction that was made outside the harness, and return it with notes on what was done.

    Parameters
    ----------
    path
        An h5ad or a zarr store with log1p of counts per 10 000 in X: a row per perturbation, or cells. Labels of rows
        are spelt as in the dataset, or as ``A``, ``A+ctrl``, or ``A+B`` in any order. Columns are gene symbols of the
        dataset in any order.
    genes
        Genes of the dataset; a gene that is missing, or NaN in all rows, becomes a column of NaN.
    queries
        Held-out perturbations; a query that is missing from the file stays unanswered.
    spellings
        Label in the dataset's file -> perturbation.
    y0
        Mean expression of the controls that models see, shape (n_genes,), log1p of counts per 10 000. If it is None,
        neither changes nor means on another scale are detected.
    choices
        The user's options for the file. If ``kind`` is ``change``, `y0` is added; if it is ``mean``, the values are
        used unchanged. If it is None, the values are means, and changes or another scale raise an error.
    ensembl_ids
        Ensembl id -> gene, if the dataset has ids.
    perturbations
        Further perturbations of the dataset, besides `queries` and those in `spellings`.
    params
        Parameters of the dataset: the user's options for its labels and scale.

    Returns
    -------
    tuple
        The prediction, shape (n_answered, n_genes), float64, with the mean of the rows of each perturbation; and notes.

    Raises
    ------
    DataError
        If the file cannot be read, or has no gene or no query of the dataset; if values are not finite numbers, or
        recognisably not log1p of counts per 10 000; or if rows are changes but not declared as such, or the reverse.
    """
    choices = choices or FileChoices()
    file = open_predictions(path, choices)
    ids = {key_of_name(name): gene for name, gene in (ensembl_ids or {}).items()}
    labels = DataLabels.of(spellings or {}, {*perturbations, *queries}, set(genes), ids, params or {})
    rows = find_rows(file, queries, labels, choices)
    columns = find_columns(file, genes, ids, choices)
    file = in_rows(file)
    values, notes = _take_values(file, rows, columns, y0, choices, is_declared=labels.options.scale == "log1p")
    missing = {str(gene): NOT_IN_FILE for gene in genes[columns.positions < 0]}
    missing |= {str(gene): ALL_NAN for gene in genes[(columns.positions >= 0) & np.isnan(values).all(axis=0)]}
    unanswered = dict.fromkeys(
        (query for query in queries if query not in rows.of_query), "not in the file of predictions"
    )
    prediction = make_prediction(dict(zip(rows.of_query, values, strict=True)), genes, unanswered)
    prediction.uns["missing_genes"] = missing
    notes = [*rows.notes, *filter(None, [columns.note]), *notes]
    if unused := len(file.var) - columns.number:
        notes.append(f"{unused} genes of {path.name} are not genes of the dataset: ignored")
    if below := int((values < 0).sum()):
        notes.append(f"{below} of the values of {path.name} are below 0, the lowest {np.nanmin(values):.3g}")
    return prediction, notes


def _take_values(
    file: PredictionFile,
    rows: FileRows,
    columns: Columns,
    y0: np.ndarray | None,
    choices: FileChoices,
    *,
    is_declared: bool,
) -> tuple[np.ndarray, list[str]]:
    """Check the values, and return the mean of each query's rows, shape (n_queries, n_genes), with notes."""
    queries, notes = list(rows.of_query), []
    numbers = np.concatenate(list(rows.of_query.values()))
    groups = np.repeat(np.arange(len(queries)), [len(of_query) for of_query in rows.of_query.values()])
    order = np.argsort(numbers, kind="stable")
    numbers, groups = numbers[order], groups[order]
    labels = [queries[group] for group in groups]
    matrix = rows_of(file, numbers)
    is_gene = np.zeros(len(columns.names), dtype=bool)
    is_gene[columns.positions[columns.positions >= 0]] = True
    survey = survey_rows(matrix, is_gene)
    is_change, insists = choices.kind == "change", choices.kind == "mean"
    refuse_values(file, numbers, labels, columns, survey, choices.kind)
    are_cells = len(numbers) > len(queries)
    if are_cells:
        sizes = [len(of_query) for of_query in rows.of_query.values()]
        each = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
        notes.append(
            f"{len(numbers)} rows of {file.name} are cells of {len(queries)} perturbations, {each} of each: their mean "
            "in log1p of counts per 10 000 is scored"
        )
    if choices.kind is None:
        if are_cells:
            notes += check_cells(survey.sample, file, "its cells", is_declared=is_declared)
        notes += _check_controls(file, rows, columns, y0, is_declared=is_declared)
    values = average(matrix, groups, len(queries), columns.positions)
    if y0 is None:
        return values, notes
    notes += check_kind(values, y0, file, choices.kind)
    if is_change:
        notes.append(f"the rows of {file.name} are changes: the mean of the controls was added")
        refuse_sums(values + y0, file, queries, columns)
        return values + y0, notes
    if not insists:
        notes += check_level(values, y0, file, queries, columns)
    return values, notes


def _check_controls(
    file: PredictionFile, rows: FileRows, columns: Columns, y0: np.ndarray | None, *, is_declared: bool
) -> list[str]:
    """Raise an error if the file's controls are on another scale; return a note if their level differs."""
    first = rows.controls[:SAMPLED_ROWS]
    if not len(first):
        return []
    matrix = rows_of(file, first)
    survey = survey_rows(matrix, np.zeros(len(columns.names), dtype=bool))
    notes = check_cells(survey.sample, file, "the cells of its controls", is_declared=is_declared)
    if y0 is None:
        return notes
    mean = average(matrix, np.zeros(len(first), dtype=np.intp), 1, columns.positions)[0]
    return notes + describe_controls(mean, y0, file)
