"""The last checks of a job's results, made on the files themselves, because the worker's own report may be wrong."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness.contract.errors import ContractError
from pertharness.contract.jobs import Claim, Job
from pertharness.contract.labels import CONTROL, targets_of
from pertharness.contract.options import kind_of_prediction
from pertharness.contract.scores import COLUMNS
from pertharness.contract.stages import EMBEDDING, FACTS, PREDICTION, SCORES
from pertharness.data.canonical import LOG1P_CEILING
from pertharness.data.hdf5_structure import LARGEST_RATIO, SMALL, in_units, is_number
from pertharness.host.execution.batch import Launch

if TYPE_CHECKING:
    import h5py

Refusal = Callable[[str], ContractError]
"""Makes the error that says what is wrong with a file."""
MOST_LABELS = 50_000_000
"""Most labels in one file: 30 times the cells of the largest screen."""
_OF_ODD_FILES = (
    ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError, csv.Error,
)  # fmt: skip
"""What h5py, numpy and csv raise for a malformed file."""
MOST_DIMENSIONS = 200_000
"""Largest number of dimensions of an embedding: one per gene or protein of the largest annotations."""
VALUES_AT_A_TIME = 1 << 20
"""Values of an embedding that are read at a time, and of the arrays that belong to them."""
LONG_TEXT = 64_000_000
"""Size of a text in bytes: some 600 000 scores, which need half a gigabyte while they are checked."""
_PARTS = ("train", "val", "test")
ROWS_AT_A_TIME = 256
"""Rows of a prediction that are read at a time: 256 x 60 000 genes are 120 MB."""


def inspect_artefacts(launch: Launch, claim: Claim) -> None:
    """Check the files of a job that a plugin may have changed.

    Raises
    ------
    ContractError
        If one of them breaks the contract of its stage, or is not what a worker of this version writes.
    """
    if claim.unanswered and launch.job.stage != "predictions":
        raise ContractError(
            f"{launch.job.stage} {launch.job.name!r}: unanswered queries are named by a stage without queries"
        )
    if launch.job.stage not in _CHECKS:
        return
    check, name = _CHECKS[launch.job.stage]
    refuse = _refusal(launch.job, name)
    try:
        check(launch.folder / name, launch.job, claim, refuse)
    except ContractError:
        raise
    except _OF_ODD_FILES as error:  # a plugin may write any bytes, and the watcher must go on
        raise refuse(f"not a file that a worker writes: {type(error).__name__}: {str(error)[:300]}") from None


def _inspect_prediction(path: Path, job: Job, claim: Claim, refuse: Refusal) -> None:
    """Check that a prediction has the genes of its training data, the requested queries, and possible values."""
    queries = _queries(job)
    with _open(path, refuse) as file, _open_input(job.inputs["train"], refuse) as train:
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
            raise refuse(f"duplicate query {Counter(labels).most_common(1)[0][0]!r}")
        if extra := (answered | claim.unanswered.keys()) - set(queries):
            raise refuse(f"{min(extra)!r} was not requested")
        if both := answered & claim.unanswered.keys():
            raise refuse(f"{min(both)!r} is both answered and unanswered")
        silent = [query for query in queries if query not in answered and query not in claim.unanswered]
        if silent:
            raise refuse(f"{silent[0]!r} is neither answered nor listed as unanswered with a reason")
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
    """Check that an embedding has rows for requested labels only, each once, and holds numbers."""
    requested = _requested_labels(job, refuse)
    with _open(path, refuse) as file:
        matrix = file["X"]
        shape = tuple(map(int, matrix.attrs["shape"] if hasattr(matrix, "keys") else matrix.shape))
        if len(shape) != 2 or shape[0] > len(requested) or shape[1] > MOST_DIMENSIONS:  # before anything of it is read
            raise refuse(
                f"X has the shape {shape}, expected at most {len(requested)} rows and {MOST_DIMENSIONS} columns"
            )
        names = read_names(file["obs"], limit=len(requested))
        if len(names) != shape[0]:
            raise refuse(f"X has {shape[0]} rows, and there are {len(names)} labels")
        if len(set(names)) < len(names):
            raise refuse(f"duplicate label {Counter(names).most_common(1)[0][0]!r}")
        if extra := set(names) - requested:
            raise refuse(f"{min(extra)!r} was not requested")
        values = _sparse_values(matrix, shape, refuse) if hasattr(matrix, "keys") else matrix
        if not is_number(values.dtype):
            raise refuse(f"X holds values of the type {values.dtype}, expected numbers")
        for rows in _pieces(values):
            if not np.isfinite(rows).all():
                raise refuse("it holds values that are not finite")


def _requested_labels(job: Job, refuse: Refusal) -> set[str]:
    """Return the labels that an embedding may have: the data's genes, or targets of split and queries, and control."""
    if job.options["kind"] == "gene":
        with _open_input(job.inputs["train"], refuse) as train:
            return set(read_names(train["var"]))
    parts = _parts(job)
    perturbations = [*job.options.get("queries", ()), *(label for part in _PARTS for label in parts[part])]
    return {CONTROL, *(target for label in perturbations for target in targets_of(label))}


def _sparse_values(matrix: Any, shape: tuple[int, ...], refuse: Refusal) -> Any:
    """Return the values of a sparse matrix once its indices are those of a matrix of this shape.

    Readers put values where the indices say, without checking that this is inside the matrix.
    """
    layout, values = matrix.attrs["encoding-type"], matrix["data"]
    if layout != "csr_matrix" or values.ndim != 1 or values.shape[0] > shape[0] * shape[1]:
        raise refuse(f"X is a {layout} of {shape[0]} x {shape[1]} with {values.shape} values")
    if matrix["indices"].shape != values.shape or matrix["indptr"].shape != (shape[0] + 1,):
        raise refuse(f"X has {values.shape[0]} values, and its indices or row starts do not match them")
    starts = matrix["indptr"][:]
    steps_back = (np.diff(starts.astype(np.int64)) < 0).any()
    if starts.dtype.kind not in "iu" or starts[0] != 0 or starts[-1] != values.shape[0] or steps_back:
        raise refuse("the row starts of X are not whole numbers that grow from 0 to its number of values")
    for columns in _pieces(matrix["indices"]):
        if columns.dtype.kind not in "iu" or ((columns < 0) | (columns >= shape[1])).any():
            raise refuse(f"X has values outside its {shape[1]} columns")
    return values


def _pieces(values: h5py.Dataset) -> Iterator[Any]:
    """Yield an array a few rows at a time, about `VALUES_AT_A_TIME` values."""
    step = max(1, VALUES_AT_A_TIME // max(1, math.prod(values.shape[1:])))
    for start in range(0, values.shape[0], step):
        yield values[start : start + step]


def _inspect_scores(path: Path, job: Job, claim: Claim, refuse: Refusal) -> None:
    """Check that scores are of metrics on the card and of answered queries, each once, none of them infinite."""
    metrics = {(m["id"], variant) for m in job.options["offer"]["metrics"] for variant in m["variants"]}
    with _open_input(job.inputs["prediction"], refuse) as file:
        answered = {*read_strings(file["obs"]["perturbation"]), ""}
    requested = {*_queries(job), ""}
    seen = set()
    with path.open(newline="", encoding="utf-8") as lines:
        rows = csv.reader(lines)
        if tuple(next(rows, ())) != COLUMNS:
            raise refuse(f"its columns are not {', '.join(COLUMNS)}")
        for row in rows:
            if len(row) != len(COLUMNS):
                raise refuse(f"a row has {len(row)} columns")
            perturbation, _, metric, variant, _, value = row
            if (metric, variant) not in metrics or perturbation not in requested:
                raise refuse(f"a score of {perturbation!r} for the metric {metric!r} ({variant!r}) was not requested")
            number = float(value) if value else math.nan
            if math.isinf(number) or (perturbation not in answered and not math.isnan(number)):
                raise refuse(
                    f"{value} for {metric!r} of {perturbation!r}; expected a finite number, or NaN for an "
                    "unanswered query"
                )
            if tuple(row[:-1]) in seen:
                raise refuse(f"two values for {metric!r} ({variant!r}) of {perturbation!r}")
            seen.add(tuple(row[:-1]))


def _queries(job: Job) -> list[str]:
    """Return the perturbations to predict: those that a user asks for, or those of the parts that are scored."""
    if kind_of_prediction(job) == "queries":
        return list(job.options["queries"])
    parts = _parts(job)
    return [query for part in job.options["score_on"] for query in parts[part]]


def _parts(job: Job) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = json.loads(job.inputs["split"].read_text(encoding="utf-8"))
    return parts


def _inspect_facts(path: Path, job: Job, claim: Claim, refuse: Refusal) -> None:
    """Check that the facts of a dataset are an object with its size."""
    facts = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(facts, dict) or any(not isinstance(facts.get(name), int) for name in ("n_obs", "n_genes")):
        raise refuse("n_obs and n_genes are missing")


def _refusal(job: Job, name: str) -> Refusal:
    where = f"plugin {job.plugin.name!r}, {job.stage} {job.name!r}: {name}"

    def refuse(problem: str) -> ContractError:
        return ContractError(f"{where}: {problem}")

    return refuse


def _open(path: Path, refuse: Refusal) -> Any:
    """Open an HDF5 file whose data are all in the file itself, and about as large as it declares."""
    file = _open_input(path, refuse)
    try:
        _check_group(file, refuse, set())
    except BaseException:
        file.close()
        raise
    return file


def _open_input(path: Path, refuse: Refusal) -> Any:
    """Open an HDF5 file that the harness wrote, or that was checked when its own job ended."""
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise refuse(f"{path.name} cannot be read: {error}") from None


def _check_group(group: Any, refuse: Refusal, seen: set[int]) -> None:
    """Check the members of a group, each once: groups may contain each other. A worker writes no links at all."""
    import h5py

    address = h5py.h5o.get_info(group.id).addr
    if address in seen:
        return
    seen.add(address)
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise refuse(f"{name!r} is a link")
        element = group[name]
        if isinstance(element, h5py.Group):
            _check_group(element, refuse, seen)
        elif isinstance(element, h5py.Dataset):
            _check_array(element, refuse)


def _check_array(array: h5py.Dataset, refuse: Refusal) -> None:
    """Check where the values of an array are, and how many, before reading any."""
    if array.external or array.is_virtual:
        raise refuse(f"the values of {array.name!r} are in another file")
    declared = math.prod(array.shape or ()) * array.dtype.itemsize
    if declared > SMALL and declared > LARGEST_RATIO * array.id.get_storage_size():
        shape, held = " x ".join(map(str, array.shape)), in_units(array.id.get_storage_size())
        raise refuse(
            f"{array.name!r} declares {shape} values ({in_units(declared)}), but the file holds only {held} of them"
        )


def read_names(table: Any, limit: int = MOST_LABELS) -> list[str]:
    """Return the index of a table of an h5ad; see `read_strings`."""
    return read_strings(table[table.attrs["_index"]], limit)


def read_strings(column: Any, limit: int = MOST_LABELS) -> list[str]:
    """Return a column of texts of an h5ad, categorical or not.

    Raises
    ------
    ValueError
        If there are more than `limit` of them, however small they are in the file.
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
    "predictions": (_inspect_prediction, PREDICTION), "embeddings": (_inspect_embedding, EMBEDDING),
    "scores": (_inspect_scores, SCORES), "datasets": (_inspect_facts, FACTS),
}  # fmt: skip


def opens_arrays(launch: Launch) -> bool:
    """Return whether a job's files are HDF5, whose library is in C, or so long that they may fill the memory."""
    if launch.job.stage not in _CHECKS:
        return False
    name = _CHECKS[launch.job.stage][1]
    return name.endswith(".h5ad") or (launch.folder / name).stat().st_size > LONG_TEXT
