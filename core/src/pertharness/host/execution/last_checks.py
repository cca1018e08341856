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

ROWS_AT_A_TIME = 256
"""Of a prediction: 256 x 60 000 genes are 120 MB."""


def inspect_artefacts(launch: Launch, claim: Claim) -> None:
    """Check the files of a job that plugins have had their hands in.

    Raises
    ------
    ContractError
        If one of them breaks the contract of its stage.
    """
    check = _CHECKS.get(launch.job.stage)
    if check is not None:
        check(launch.folder, launch.job, claim)


def _inspect_prediction(folder: Path, job: Job, claim: Claim) -> None:
    """Check that a prediction has the genes of its training data, queries that were asked, and values that can be."""
    refuse = _refusal(job, "prediction.h5ad")
    queries = _queries(job)
    with _open(folder / "prediction.h5ad", refuse) as file, _open(job.inputs["train"], refuse) as train:
        labels = read_strings(file["obs"]["perturbation"])
        if read_names(file["var"]) != read_names(train["var"]):
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
        matrix = file["X"]
        if matrix.ndim != 2 or matrix.shape != (len(labels), train["var"][train["var"].attrs["_index"]].shape[0]):
            raise refuse(f"X has the shape {matrix.shape}")
        _check_values(matrix, labels, refuse)


def _check_values(matrix: h5py.Dataset, labels: list[str], refuse: Callable[[str], ContractError]) -> None:
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


def _inspect_embedding(folder: Path, job: Job, claim: Claim) -> None:
    """Check that an embedding holds numbers, and each label once."""
    refuse = _refusal(job, "embedding.h5ad")
    with _open(folder / "embedding.h5ad", refuse) as file:
        names = read_names(file["obs"])
        values = file["X"]["data"] if hasattr(file["X"], "keys") else file["X"]
        if len(set(names)) < len(names):
            raise refuse("a label comes twice")
        for start in range(0, values.shape[0], 4096):
            if not np.isfinite(values[start : start + 4096]).all():
                raise refuse("it holds values that are not finite")


def _inspect_scores(folder: Path, job: Job, claim: Claim) -> None:
    """Check that scores are of metrics on the card and of answered queries, each once, none of them infinite."""
    refuse = _refusal(job, "scores.csv")
    metrics = {(m["id"], variant) for m in job.options["offer"]["metrics"] for variant in m["variants"]}
    with _open(job.inputs["prediction"], refuse) as file:
        answered = {*read_strings(file["obs"]["perturbation"]), ""}
    asked = {*_queries(job), ""}
    seen = set()
    with (folder / "scores.csv").open(newline="", encoding="utf-8") as lines:
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


def _refusal(job: Job, name: str) -> Callable[[str], ContractError]:
    where = f"plugin {job.plugin.name!r}, {job.stage} {job.name!r}: {name}"

    def refuse(what: str) -> ContractError:
        return ContractError(f"{where}: {what}")

    return refuse


def _open(path: Path, refuse: Callable[[str], ContractError]) -> Any:
    """Open an HDF5 file none of whose parts lies in another one."""
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise refuse(f"it cannot be read: {error}") from None
    _check_links(file, refuse, depth=4)
    return file


def _check_links(group: Any, refuse: Callable[[str], ContractError], depth: int) -> None:
    import h5py

    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise refuse(f"{name!r} is a link")
        element = group[name]
        if isinstance(element, h5py.Group) and depth:
            _check_links(element, refuse, depth - 1)
        elif isinstance(element, h5py.Dataset) and (element.external or element.is_virtual):
            raise refuse(f"the values of {name!r} lie in another file")


def read_names(table: Any) -> list[str]:
    """Return the index of a table of an h5ad."""
    return [str(name) for name in table[table.attrs["_index"]].asstr()[:]]


def read_strings(column: Any) -> list[str]:
    """Return a column of texts of an h5ad, categorical or not."""
    if hasattr(column, "keys"):
        categories = column["categories"].asstr()[:]
        return [str(categories[code]) for code in column["codes"][:]]
    return [str(value) for value in column.asstr()[:]]


_CHECKS: dict[str, Callable[[Path, Job, Claim], None]] = {
    "predictions": _inspect_prediction, "embeddings": _inspect_embedding, "scores": _inspect_scores,
}  # fmt: skip
