"""The last checks of what a job left, read from its files: what the worker says of them may not be so."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness.canonical import LOG1P_CEILING
from pertharness.errors import ContractError
from pertharness.host.execution.batch import Launch
from pertharness.jobs import Claim, Job
from pertharness.scores import COLUMNS

if TYPE_CHECKING:
    import h5py

Refusal = Callable[[str], ContractError]
"""Makes the error that says what is wrong with a file."""
MOST_LABELS = 50_000_000
"""In one file: 30 times the cells of the largest screen."""
_OF_ODD_FILES = (
    ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError, csv.Error,
)  # fmt: skip
"""What h5py, numpy and csv raise about a file that is not what it should be."""
ROWS_AT_A_TIME = 256
"""Of a prediction: 256 x 60 000 genes are 120 MB."""


def inspect_artefacts(launch: Launch, claim: Claim) -> None:
    """Check the files of a job that plugins have had their hands in.

    Raises
    ------
    ContractError
        If one of them breaks the contract of its stage, or is not what a worker of this version writes.
    """
    if launch.job.stage not in _CHECKS:
        return
    check, name = _CHECKS[launch.job.stage]
    refuse = _refusal(launch.job, name)
    try:
        check(launch.folder / name, launch.job, claim, refuse)
    except ContractError:
        raise
    except _OF_ODD_FILES as error:  # a plugin may put any bytes there, and the watcher lives on
        raise refuse(f"it is not what a worker writes: {type(error).__name__}: {str(error)[:300]}") from None


def _inspect_prediction(path: Path, job: Job, claim: Claim, refuse: Refusal) -> None:
    """Check that a prediction has the genes of its training data, queries that were asked, and values that can be."""
    queries = _queries(job)
    with _open(path, refuse) as file, _open(job.inputs["train"], refuse) as train:
        matrix, genes = file["X"], read_names(train["var"])
        if matrix.ndim != 2 or matrix.shape[0] > len(queries):  # before anything of its size is read
            raise refuse(f"X has the shape {matrix.shape}")
        if matrix.dtype.kind != "f":
            raise refuse(f"X holds values of the type {matrix.dtype}, expected floating-point numbers")
        labels = read_strings(file["obs"]["perturbation"], limit=len(queries))
        if read_names(file["var"], limit=len(genes)) != genes:
            raise refuse("its genes are not those of the training data, in their order")
        answered = set(labels)
        if len(answered) < len(labels):
            raise refuse("a query is answered twice")
        if extra := answered - set(queries):
            raise refuse(f"{min(extra)!r} was not asked for")
        if both := answered & claim.unanswered.keys():
            raise refuse(f"{min(both)!r} is both answered and unanswered")
        silent = [query for query in queries if query not in answered and query not in claim.unanswered]
        if silent:
            raise refuse(f"{silent[0]!r} is neither answered nor is there a reason why not")
        if matrix.shape != (len(labels), len(genes)):
            raise refuse(f"X has the shape {matrix.shape}")
        _check_values(matrix, labels, refuse)


def _check_values(matrix: h5py.Dataset, labels: list[str], refuse: Refusal) -> None:
    missing = np.isnan(matrix[:1]).all(axis=0) if matrix.shape[0] else np.zeros(matrix.shape[1], dtype=bool)
    for start in range(0, matrix.shape[0], ROWS_AT_A_TIME):
        values = matrix[start : start + ROWS_AT_A_TIME]
        bad = np.where(missing, ~np.isnan(values), ~(np.abs(values) <= LOG1P_CEILING))
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise refuse(
                f"{values[row, column]} for the query {labels[start + row]!r}, gene {column}; expected numbers from "
                f"{-LOG1P_CEILING:.2f} to {LOG1P_CEILING:.2f}, or NaN for a gene in every row"
            )


def _inspect_embedding(path: Path, job: Job, claim: Claim, refuse: Refusal) -> None:
    """Check that an embedding holds numbers, and each label once."""
    with _open(path, refuse) as file:
        names = read_names(file["obs"])
        values = file["X"]["data"] if hasattr(file["X"], "keys") else file["X"]
        if len(set(names)) < len(names):
            raise refuse("a label comes twice")
        for start in range(0, values.shape[0], 4096):
            if not np.isfinite(values[start : start + 4096]).all():
                raise refuse("it holds values that are not finite")


def _inspect_scores(path: Path, job: Job, claim: Claim, refuse: Refusal) -> None:
    """Check that scores are of metrics on the card and of answered queries, each once, none of them infinite."""
    metrics = {(m["id"], variant) for m in job.options["offer"]["metrics"] for variant in m["variants"]}
    with _open(job.inputs["prediction"], refuse) as file:
        answered = {*read_strings(file["obs"]["perturbation"]), ""}
    asked = {*_queries(job), ""}
    seen = set()
    with path.open(newline="", encoding="utf-8") as lines:
        rows = csv.reader(lines)
        if tuple(next(rows, ())) != COLUMNS:
            raise refuse(f"its columns are not {', '.join(COLUMNS)}")
        for row in rows:
            if len(row) != len(COLUMNS):
                raise refuse(f"a row has {len(row)} columns")
            perturbation, _, metric, variant, _, value = row
            if (metric, variant) not in metrics or perturbation not in asked:
                raise refuse(f"a score of {perturbation!r} for the metric {metric!r} ({variant!r}) was not asked for")
            number = float(value) if value else math.nan
            if math.isinf(number) or (perturbation not in answered and not math.isnan(number)):
                raise refuse(f"{value} for {metric!r} of {perturbation!r}, which the model may not have answered")
            if tuple(row[:-1]) in seen:
                raise refuse(f"two values for {metric!r} ({variant!r}) of {perturbation!r}")
            seen.add(tuple(row[:-1]))


def _queries(job: Job) -> list[str]:
    parts = json.loads(job.inputs["split"].read_text(encoding="utf-8"))
    return [query for part in job.options["score_on"] for query in parts[part]]


def _refusal(job: Job, name: str) -> Refusal:
    where = f"plugin {job.plugin.name!r}, {job.stage} {job.name!r}: {name}"

    def refuse(what: str) -> ContractError:
        return ContractError(f"{where}: {what}")

    return refuse


def _open(path: Path, refuse: Refusal) -> Any:
    """Open an HDF5 file none of whose parts lies in another one."""
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise refuse(f"it cannot be read: {error}") from None
    _check_links(file, refuse, depth=4)
    return file


def _check_links(group: Any, refuse: Refusal, depth: int) -> None:
    import h5py

    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise refuse(f"{name!r} is a link")
        element = group[name]
        if isinstance(element, h5py.Group) and depth:
            _check_links(element, refuse, depth - 1)
        elif isinstance(element, h5py.Dataset) and (element.external or element.is_virtual):
            raise refuse(f"the values of {name!r} lie in another file")


def read_names(table: Any, limit: int = MOST_LABELS) -> list[str]:
    """Return the index of a table of an h5ad; see `read_strings`."""
    return read_strings(table[table.attrs["_index"]], limit)


def read_strings(column: Any, limit: int = MOST_LABELS) -> list[str]:
    """Return a column of texts of an h5ad, categorical or not.

    Raises
    ------
    ValueError
        If there are more than `limit` of them, however little room these take in the file.
    """
    parts = [column["categories"], column["codes"]] if hasattr(column, "keys") else [column]
    for part in parts:
        if part.ndim != 1 or part.shape[0] > limit:
            raise ValueError(f"{part.name!r} has the shape {part.shape}, expected at most {limit} texts")
    if not parts[-1].shape[0]:  # of no text nobody can tell that it would be one
        return []
    if len(parts) == 1:
        return [str(value) for value in column.asstr()[:]]
    categories = parts[0].asstr()[:]
    return [str(categories[code]) for code in parts[1][:]]


_CHECKS: dict[str, tuple[Callable[[Path, Job, Claim, Refusal], None], str]] = {
    "predictions": (_inspect_prediction, "prediction.h5ad"), "embeddings": (_inspect_embedding, "embedding.h5ad"),
    "scores": (_inspect_scores, "scores.csv"),
}  # fmt: skip
