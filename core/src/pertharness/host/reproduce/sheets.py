"""Source Data workbooks: sheets as tables whose columns are recognised by their names only.

Nothing is assumed of a sheet's place, order or name. A sheet whose columns are not recognised is not used, and
is reported with its header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness.contract.errors import PertharnessError

if TYPE_CHECKING:
    import pandas as pd

ROLES = {
    "model": ("model", "method", "name", "algorithm"),
    "perturbation": ("perturbation", "perturbations", "condition", "pert"),
    "seed": ("seed", "split", "test_train_split", "replicate"),
    "dataset": ("dataset", "dataset_name", "data_set", "screen"),
    "coordinate": ("fdp", "fdr", "false_discovery_proportion"),
    "metric": ("metric", "measure", "stat", "statistic"),
    "value": ("value", "score"),
}
"""Columns that identify a row: role -> headers, in lower case, with ``_`` for all but letters and digits."""

METRICS = {
    "l2": ("l2", "dist", "distance", "l2_distance", "l2_dist", "prediction_error"),
    "pearson": ("pearson", "r2", "cor", "correlation"),
    "pearson_delta": ("pearson_delta", "r2_delta", "cor_delta", "delta_pearson"),
    "tpr_fdp": ("tpr", "true_positive_rate", "tpr_fdp"),
}
"""Columns that can be compared: metric -> headers, likewise. The authors' code calls a correlation r2."""

HEADER_WITHIN = 10
"""Number of rows at the top to search for the header: titles and notes may be above it."""


@dataclass(frozen=True)
class Sheet:
    """A sheet of a workbook.

    Attributes
    ----------
    header
        Its header as it stands, or its first row if none was recognised.
    rows
        One row per value: ``model``, ``metric``, ``value``, and what there is of ``perturbation``, ``seed``,
        ``dataset`` and ``coordinate``; None if the sheet cannot be used, for the `problem`.
    """

    file: str
    name: str
    header: tuple[str, ...]
    rows: pd.DataFrame | None = field(default=None, compare=False)
    problem: str = ""


def read_workbook(path: Path) -> Iterator[Sheet]:
    """Yield every sheet of a workbook.

    Raises
    ------
    PertharnessError
        If openpyxl is not installed, or the file is no workbook.
    """
    try:
        import openpyxl
    except ModuleNotFoundError:
        raise PertharnessError(
            f"reading {path.name} needs openpyxl; install it with: pip install 'pertharness[reproduce]'"
        ) from None
    from zipfile import BadZipFile

    try:
        workbook = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (OSError, BadZipFile, KeyError, ValueError, openpyxl.utils.exceptions.InvalidFileException) as error:
        raise PertharnessError(f"{str(path)!r} cannot be read as an Excel workbook: {error}; fetch it again") from error
    try:
        for sheet in workbook.worksheets:
            yield as_sheet(path.name, sheet.title, list(sheet.iter_rows(values_only=True)))
    finally:
        workbook.close()


def as_sheet(file: str, name: str, cells: Sequence[Sequence[Any]]) -> Sheet:
    """Return a sheet from its cells: find the header, name the columns by role, and make one row per value."""
    filled = [row for row in cells if any(cell is not None for cell in row)]
    if not filled:
        return Sheet(file, name, (), problem="it is empty")
    first = max(range(min(HEADER_WITHIN, len(filled))), key=lambda i: (len(_columns(filled[i])), -i))
    header = tuple("" if cell is None else str(cell) for cell in filled[first])
    columns = _columns(header)
    metrics = [role for role in columns if role in METRICS]
    is_long = {"metric", "value"} <= set(columns)
    if "model" not in columns:
        return Sheet(file, name, header, problem=f"no column for the model (one of: {', '.join(ROLES['model'])})")
    if not (metrics or is_long):
        value_columns = ", ".join(name for names in METRICS.values() for name in names)
        return Sheet(file, name, header, problem=f"no column of values (one of: {value_columns}; or metric and value)")
    if not {"perturbation", "coordinate"} & set(columns):
        return Sheet(file, name, header, problem="no column that identifies a value (perturbation, or fdp)")
    return Sheet(file, name, header, _as_rows(filled[first + 1 :], columns, metrics))


def plain(text: object) -> str:
    """Return a text in lower case, with ``_`` for all but letters and digits."""
    return re.sub(r"[^a-z0-9]+", "_", str(text).lower()).strip("_")


def _columns(header: Sequence[Any]) -> dict[str, int]:
    """Return the position of each role and metric in a row of names; of two columns of one role, the first."""
    positions: dict[str, int] = {}
    for position, cell in enumerate(header):
        word = plain(cell) if isinstance(cell, str) else ""
        for role, names in (ROLES | METRICS).items():
            if word in names:
                positions.setdefault(role, position)
    return positions


def _as_rows(cells: Sequence[Sequence[Any]], columns: dict[str, int], metrics: Sequence[str]) -> pd.DataFrame:
    """Return one row per number, with its identifying columns as texts; leave out empty cells."""
    import pandas as pd

    padded = [[row[position] if position < len(row) else None for position in columns.values()] for row in cells]
    table = pd.DataFrame(padded, columns=list(columns), dtype=object)
    keys = [role for role in columns if role in ROLES and role not in ("metric", "value")]
    if metrics:
        table = table.melt(keys, list(metrics), var_name="metric", value_name="value")
    else:
        meant = {word: metric for metric, words in METRICS.items() for word in words}
        table["metric"] = table["metric"].map(lambda cell: meant.get(plain(cell), ""))
    table["value"] = pd.to_numeric(table["value"], errors="coerce")
    if "coordinate" in table:
        table["coordinate"] = pd.to_numeric(table["coordinate"], errors="coerce")
    numbers: pd.DataFrame = table[table["value"].notna() & (table["metric"] != "")].reset_index(drop=True)
    return numbers
