"""An embedding from a table: CSV or TSV, npz, h5ad."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
from pertharness import DataError

from pertharness_baselines.embeddings.request import Request, answer

if TYPE_CHECKING:
    import pandas as pd

Table = tuple[list[str], np.ndarray]


def embed_table(request: Request) -> pd.DataFrame:
    """Return the rows of a file; ignore labels that were not requested.

    Raises
    ------
    DataError
        If the file cannot be read, holds what is no finite number, or has a label twice.
    """
    path = required(request.source, "table", "P=table:genes.csv")
    readers = [read for ending, read in READERS.items() if path.name.lower().endswith(ending)]
    if not readers:
        raise DataError(f"table: {path.name!r} ends in none of {', '.join(READERS)}")
    names, values = readers[0](path)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise DataError(
            f"table: {path.name}: no finite numbers: {len(bad)} of {values.size} values (first: {values[row, column]} "
            f"for {names[row]!r}, dimension {column + 1}); fill them, or leave such labels out"
        )
    return answer(request, names, values, f"table: {path.name}")


def required(source: Path | None, name: str, example: str) -> Path:
    """Return the file of an embedding that requires one.

    Raises
    ------
    DataError
        If there is none.
    """
    if source is None:
        raise DataError(f"{name}: expected a file, as in {example}")
    return source


def read_text(path: Path) -> Table:
    """Read a CSV or TSV: a header, then a row per label; or, as the authors write it, a column per label.

    The latter is meant where the first column holds numbers, too.
    """
    header, frame = read_frame(path)
    first = frame.iloc[:, 0]
    # A column of gene ids that are numbers is told from numbers by its heading.
    if first.dtype.kind not in "fiu" or header[0].strip().lower() in ("", "label", "gene", "genes", "perturbation"):
        return [str(label) for label in first], as_numbers(path, frame.iloc[:, 1:])
    return header, np.ascontiguousarray(as_numbers(path, frame).T)


def read_frame(path: Path) -> tuple[list[str], pd.DataFrame]:
    """Read a delimited text with a header, which is also returned unchanged, because pandas renames duplicates.

    Raises
    ------
    DataError
        If it is no such text.
    """
    import pandas as pd

    separator = "\t" if ".tsv" in path.name.lower() else ","
    try:
        with _open(path) as file:
            header = next(csv.reader(file, delimiter=separator), [])
            _check_separator(path, header, separator)
            frame = pd.read_csv(
                file, sep=separator, header=None, na_values=[""], keep_default_na=False, low_memory=False,
                **_exactly(pd.__version__),
            )  # fmt: skip
    except pd.errors.EmptyDataError:
        there = "has a header and no rows" if header else "is empty"
        raise DataError(f"{path.name} {there}; expected a header and at least one row below it") from None
    except (OSError, ValueError, csv.Error, EOFError) as error:  # pandas' other errors are ValueErrors, too
        cause = _ragged(path, separator) if isinstance(error, pd.errors.ParserError) else ""
        raise DataError(
            f"{path.name} cannot be read as a table: {cause or error}; expected a header and rows below it"
        ) from None
    if len(header) != frame.shape[1]:
        raise DataError(f"{path.name}: the header has {len(header)} columns, the rows have {frame.shape[1]}")
    frame.columns = pd.Index(range(len(header)))
    return header, frame


def _exactly(version: str) -> dict[str, Any]:
    """Return the option that makes pandas read numbers to the last bit: from version 3 on it does, and warns of it."""
    return {} if int(version.partition(".")[0]) >= 3 else {"float_precision": "round_trip"}


def _open(path: Path) -> IO[str]:
    opened = gzip.open if path.suffix == ".gz" else open
    return cast("IO[str]", opened(path, "rt", encoding="utf-8-sig", newline=""))


def _check_separator(path: Path, header: list[str], separator: str) -> None:
    """Refuse a header of one column that another separator would make several."""
    names = {",": "commas", "\t": "tabs", ";": "semicolons"}
    for other, name in names.items():
        if len(header) == 1 and other != separator and other in header[0]:
            ending = "; a table with tabs is named .tsv" if other == "\t" else ""
            raise DataError(
                f"{path.name}: the columns are separated by {name} (header: {header[0]!r:.80}); expected "
                f"{names[separator]} between columns, and a point in decimal numbers{ending}"
            )


def _ragged(path: Path, separator: str) -> str:
    """Return a message on the first line longer than the header; empty if there is none."""
    try:
        with _open(path) as file:
            lines = csv.reader(file, delimiter=separator)
            header = next(lines, [])
            for row in lines:
                if len(row) > len(header):
                    return f"line {lines.line_num} has {len(row)} columns, the header has {len(header)}"
    except csv.Error as error:
        return str(error)
    return ""


def as_numbers(path: Path, frame: pd.DataFrame) -> np.ndarray:
    """Return the values of a table of numbers.

    Raises
    ------
    DataError
        If some of it is text.
    """
    if not frame.shape[1]:
        raise DataError(f"{path.name} has no column but that of the labels; expected one per dimension")
    values = np.empty(frame.shape)
    for position, column in enumerate(frame.columns):
        if frame[column].dtype.kind in "fiu":
            values[:, position] = frame[column].to_numpy()
            continue
        for row, value in enumerate(frame[column]):  # one by one: the first text that is no number is to be named
            try:
                values[row, position] = float(value)
            except ValueError:
                cell = f"{value!r} in row {row + 2}, column {column + 1}"
                raise DataError(
                    f"{path.name}: {cell}, is not a number; leave out columns of text, or give it a number"
                ) from None
    return values


def read_npz(path: Path) -> Table:
    """Read ``labels``, shape (n,), and ``values``, shape (n, k), of an npz; nothing is unpickled.

    Raises
    ------
    DataError
        If they are not there.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            labels, values = np.asarray(arrays["labels"]), np.asarray(arrays["values"])
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(f"{path.name} cannot be read: {error}; expected arrays 'labels' and 'values'") from None
    if values.ndim != 2 or labels.shape != values.shape[:1] or values.dtype.kind not in "fiu":
        raise DataError(
            f"{path.name}: labels have the shape {labels.shape}, values {values.shape} of {values.dtype}; "
            "expected (n,) and (n, k) of numbers"
        )
    return [str(label) for label in labels], values.astype(float)


def read_h5ad(path: Path) -> Table:
    """Read ``X`` of an h5ad, a row per label in ``obs_names``."""
    from pertharness.data.expression import read
    from scipy import sparse

    adata = read(path)
    values = adata.X.toarray() if sparse.issparse(adata.X) else np.asarray(adata.X)
    return [str(name) for name in adata.obs_names], values.astype(float)


READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": read_text, ".tsv": read_text, ".csv.gz": read_text, ".tsv.gz": read_text, ".npz": read_npz,
    ".h5ad": read_h5ad,
}  # fmt: skip
