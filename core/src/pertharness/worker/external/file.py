"""Open a file of predictions: the chosen matrix, its tables, and the user's options."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness.contract.errors import DataError
from pertharness.data.canonical import LOG1P_CEILING, open_stored
from pertharness.data.hdf5_structure import is_number
from pertharness.data.streaming import first_value, format_of, position_of, row_chunks, stored_values

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("mean", "change")
"""Kinds of rows in a file of predictions: means, or changes from the mean of the controls."""
RAW = "raw"
"""Layer name that stands for ``adata.raw`` if the file has no layer of that name."""
INDEX = ("index", "_index")
"""Column names that stand for the index of ``obs`` or ``var`` if the table has no such column."""
LABEL_FLAG, GENE_FLAG, LAYER_FLAG = "--prediction-label-column", "--prediction-gene-column", "--prediction-layer"
AS_LOGS = (
    "give log1p of counts per 10 000, such as scanpy.pp.normalize_total(adata, target_sum=1e4) and "
    "scanpy.pp.log1p(adata) make it"
)


@dataclass(frozen=True)
class FileChoices:
    """The user's options for a file of predictions; None means that the value is detected, if it is unambiguous.

    Attributes
    ----------
    label_column
        Column of ``obs``; ``index`` for the names of the rows.
    gene_column
        Column of ``var``; ``index`` for ``var_names``.
    layer
        Layer to use instead of ``X``; ``raw`` for ``adata.raw``.
    kind
        One of `KINDS`.
    """

    label_column: str | None = None
    gene_column: str | None = None
    layer: str | None = None
    kind: str | None = None


@dataclass(frozen=True)
class PredictionFile:
    """A file of predictions with its values on disk; ``matrix`` has the shape (n_rows, n_columns)."""

    path: Path
    where: str
    matrix: Any
    obs: pd.DataFrame
    var: pd.DataFrame

    def fault(self, text: str) -> DataError:
        """Return an error about this file."""
        return DataError(f"{str(self.path)!r}: {text}")

    @property
    def name(self) -> str:
        """Name of the file, for notes."""
        return self.path.name


def open_predictions(path: Path, choices: FileChoices) -> PredictionFile:
    """Open a file of predictions, and do all checks that need no dataset.

    Raises
    ------
    DataError
        If the file cannot be read, has no rows, lacks the layer or column, or its values are not numbers.
    """
    stored = open_stored(path)
    matrix, where, var = stored.X, "X", stored.var
    if choices.layer is not None:
        where = f"layers[{choices.layer!r}]"
        if choices.layer in stored.layers:
            matrix = stored.layers[choices.layer]
        elif choices.layer == RAW and stored.raw is not None:
            matrix, where, var = stored.raw.X, "raw", stored.raw.var
        else:
            layers = [*stored.layers, *([RAW] if stored.raw is not None else [])]
            raise DataError(
                f"{str(path)!r}: there is no layer {choices.layer!r} ({LAYER_FLAG}); it has {some(layers) or 'none'}"
            )
    file = PredictionFile(path, where, matrix, stored.obs, var)
    if matrix is None:
        others = f"; or take a layer with {LAYER_FLAG}: {some(stored.layers)}" if stored.layers else ""
        raise file.fault(f"there is no X; give the mean log expression{others}")
    if not is_number(matrix.dtype):
        raise file.fault(
            f"{where} has the type {matrix.dtype.name!r}{first_value(matrix)}; expected numbers: the mean log "
            "expression"
        )
    if not stored.n_obs or not len(var):
        raise file.fault(f"it is empty: {stored.n_obs} rows x {len(var)} genes; expected a row per perturbation")
    _check_column(file, file.obs, choices.label_column, "obs", LABEL_FLAG)
    _check_column(file, file.var, choices.gene_column, "var", GENE_FLAG)
    return file


def some(values: Iterable[object], most: int = 6) -> str:
    """Return the first few values, quoted; empty if there are none."""
    quoted = [repr(value) for value in values]
    return ", ".join(quoted[:most]) + (", ..." if len(quoted) > most else "")


def _check_column(file: PredictionFile, table: pd.DataFrame, column: str | None, name: str, flag: str) -> None:
    """Raise an error if a column is missing."""
    if column is None or column in table or column in (*INDEX, table.index.name):
        return
    raise file.fault(
        f"{name} has no column {column!r} ({flag}); it has {some(table.columns, 20) or 'none'}; the names of the "
        f"{'rows' if name == 'obs' else 'genes'} are {flag} index"
    )


def refuse_counts(file: PredictionFile) -> None:
    """Raise an error if the first rows have only whole numbers, and one is too large for log1p of counts per 10 000."""
    matrix = file.matrix
    if format_of(matrix) == "csc":  # the values of its first rows are spread over the whole file
        return
    _, chunk = next(iter(row_chunks(matrix, 1 << 20)))
    values = stored_values(chunk)
    if not values.size or not np.isfinite(values).all() or (values != np.floor(values)).any():
        return
    at = int(np.argmax(values))
    if values[at] > LOG1P_CEILING:
        row, column = position_of(chunk, at)
        raise file.fault(
            f"{file.where} holds whole numbers, such as {float(values[at]):g} in row {str(file.obs.index[row])!r}, "
            f"column {str(file.var.index[column])!r}: these look like counts; {AS_LOGS}"
        )
