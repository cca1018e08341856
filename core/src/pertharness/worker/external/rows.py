"""Find the column of labels in a file of predictions, and match its rows to perturbations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pertharness.contract.errors import DataError
from pertharness.contract.labels import CONTROL
from pertharness.datasets.labelling import LABEL_COLUMNS, labels_in
from pertharness.worker.external.file import INDEX, LABEL_FLAG, FileChoices, PredictionFile, some
from pertharness.worker.external.labels import MOST_LABELS, DataLabels, LabelReader

if TYPE_CHECKING:
    import pandas as pd

USUAL_COLUMN = "perturbation"


@dataclass(frozen=True)
class FileRows:
    """The rows of a file of predictions, by perturbation.

    Attributes
    ----------
    of_query
        Query -> indices of its rows, ascending.
    controls
        Indices of the rows of controls.
    notes
        Remarks on what was done.
    """

    of_query: Mapping[str, np.ndarray]
    controls: np.ndarray
    notes: list[str]


def find_rows(file: PredictionFile, queries: list[str], data: DataLabels, choices: FileChoices) -> FileRows:
    """Return the rows of each query, and the rows of controls.

    Raises
    ------
    DataError
        If no label means a query, or if two columns of labels disagree.
    """
    reader = LabelReader(data)
    column, meanings = _choose_column(file, queries, reader, choices)
    _refuse_unread(file, meanings, reader)
    labels = labels_in(file.obs, column)
    perturbations = labels.map(meanings).to_numpy(dtype=object)
    numbers = {query: number for number, query in enumerate(queries)}
    codes = np.array([numbers.get(perturbation, -1) for perturbation in perturbations], dtype=np.intp)
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(queries) + 1))
    of_query = {query: order[starts[i] : starts[i + 1]] for i, query in enumerate(queries) if starts[i + 1] > starts[i]}
    controls = np.flatnonzero(perturbations == CONTROL)
    notes = [*_other_columns(file, column, meanings, queries, reader, choices)]
    if column != USUAL_COLUMN and choices.label_column is None:
        notes.append(f"the labels of {file.name} are {_named(file, column)}")
    notes += reader.describe(meanings, of_query, file.name)
    if len(controls):
        spelt = [label for label, meaning in meanings.items() if meaning == CONTROL]
        notes.append(f"{len(controls)} rows of {file.name} are controls ({some(spelt)}): not scored")
    rest = len(labels) - len(controls) - sum(map(len, of_query.values()))
    if rest:
        others = [label for label, meaning in meanings.items() if meaning not in of_query and meaning != CONTROL]
        notes.append(
            f"{rest} rows of {file.name} ({some(others, 3)}) are not held-out perturbations of this split: ignored"
        )
    return FileRows(of_query, controls, notes)


def _choose_column(
    file: PredictionFile, queries: list[str], reader: LabelReader, choices: FileChoices
) -> tuple[str, dict[str, str | None]]:
    """Return the column of labels, and the meaning of each label."""
    obs, query_set = file.obs, set(queries)
    if choices.label_column is not None:
        candidates = [choices.label_column]
    else:
        candidates = [column for column in obs.columns if str(column).lower() in LABEL_COLUMNS]
        candidates.sort(key=lambda column: str(column) != USUAL_COLUMN)  # the documented column comes first
    fitting: dict[str, dict[str, str | None]] = {}
    for column in candidates:
        meanings = reader.read_all(dict.fromkeys(labels_in(obs, column)))
        if query_set & set(meanings.values()):
            fitting[column] = meanings
    if USUAL_COLUMN in fitting:
        return USUAL_COLUMN, fitting[USUAL_COLUMN]
    if not fitting and choices.label_column is None:
        names = reader.read_names(obs)
        if query_set & set(names.values()):
            return INDEX[0] if INDEX[0] not in obs else INDEX[1], names
    if not fitting:
        raise _no_match(file, queries, reader, candidates)
    first = next(iter(fitting))
    for other in fitting:
        if list(_only(labels_in(obs, first).map(fitting[first]), query_set)) != list(
            _only(labels_in(obs, other).map(fitting[other]), query_set)
        ):
            raise file.fault(
                f"obs has several columns with held-out perturbations ({some(fitting)}) and they differ; choose one "
                f"with {LABEL_FLAG}"
            )
    return first, fitting[first]


def _other_columns(
    file: PredictionFile, column: str, meanings: Mapping[str, str | None], queries: list[str], reader: LabelReader,
    choices: FileChoices,
) -> list[str]:  # fmt: skip
    """Return a note if the usual column was used, and another label column has different perturbations."""
    if column != USUAL_COLUMN or choices.label_column is not None:
        return []
    query_set = set(queries)
    taken = list(_only(labels_in(file.obs, column).map(meanings), query_set))
    others = []
    for name in (name for name in file.obs.columns if name != column and str(name).lower() in LABEL_COLUMNS):
        labels = labels_in(file.obs, name)
        read = _only(labels.map(reader.read_all(dict.fromkeys(labels))), query_set)
        if (read != "").any() and list(read) != taken:
            others.append(name)
    if not others:
        return []
    return [
        f"the labels of {file.name} are obs[{column!r}]; {some(others)} of obs has other perturbations: choose with "
        f"{LABEL_FLAG}"
    ]


def _refuse_unread(file: PredictionFile, meanings: Mapping[str, str | None], reader: LabelReader) -> None:
    """Raise an error for labels that cannot be read."""
    for label, fault in reader.faults.items():
        if label in meanings and meanings[label] is None:
            raise file.fault(fault)


def _only(labels: pd.Series, allowed: set[str]) -> pd.Series:
    """Return labels, with those that are not allowed replaced by the empty text."""
    selected: pd.Series = labels.where(labels.isin(list(allowed)), "")
    return selected


def _named(file: PredictionFile, column: str) -> str:
    """Return the description of a column for notes and errors."""
    return f"obs[{column!r}]" if column in file.obs else "the names of its rows"


def _no_match(file: PredictionFile, queries: list[str], reader: LabelReader, candidates: list[str]) -> DataError:
    """Return the error for a file without queries; it shows the file's labels and the queries."""
    obs, query_set = file.obs, set(queries)
    shown = candidates[0] if candidates else INDEX[0]
    labels = list(dict.fromkeys(labels_in(obs, shown)))
    _refuse_unread(file, dict.fromkeys(labels), reader)
    texts = [column for column in obs.columns if column not in candidates and obs[column].nunique() <= MOST_LABELS]
    other = [
        column for column in texts if query_set & set(reader.read_all(dict.fromkeys(labels_in(obs, column))).values())
    ]
    where = f"its labels, {_named(file, shown)}, are {some(labels)}"
    columns = f"the columns of obs are {some(obs.columns, 20)}" if len(obs.columns) else "obs has no columns"
    remedy = f"name the column with the labels with {LABEL_FLAG} ({columns})"
    if other:
        remedy = f"obs[{other[0]!r}] has some of them: take it with {LABEL_FLAG} {other[0]}"
    return DataError(
        f"{str(file.path)!r} has none of the held-out perturbations (such as {queries[:3]}); {where}; {remedy}, or "
        "check that the file is for this dataset"
    )
