"""Load a user's h5ad of cells, or of one row per perturbation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness.contract.cards import DatasetOffer
from pertharness.contract.errors import DataError
from pertharness.contract.settings import settings_of
from pertharness.data.canonical import KEY, SCALE, check_dataset, open_stored
from pertharness.data.expression import layers_of
from pertharness.data.stored import Stored, take_rows
from pertharness.data.streaming import as_source
from pertharness.datasets.conditions import choose_conditions
from pertharness.datasets.contexts import choose_context, explaining_missing_controls
from pertharness.datasets.labelling import Labelling
from pertharness.datasets.logs import to_log1p
from pertharness.datasets.options import FileOptions, check_options
from pertharness.datasets.perturbations import (
    categorical,
    keep_labelled,
    label_rows,
    note_perturbations,
    read_names,
)  # fmt: skip
from pertharness.datasets.separators import quote
from pertharness.datasets.values import Survey, Values, as_type, survey_values

if TYPE_CHECKING:
    import pandas as pd

TOTAL_COLUMNS = ("total_counts", "total_count", "ncounts", "n_counts", "ncount_rna", "umi_count", "n_umi", "n_umis")
N_CELLS_COLUMNS = ("n_cells", "ncells", "num_cells", "cell_count", "n_obs")

RAW = "raw"
"""Layer name that stands for ``adata.raw`` if the file has no layer of that name."""

H5AD = DatasetOffer(
    name="h5ad",
    summary="an h5ad file of cells, or of one row per perturbation",
    takes_file=True,
    **settings_of(FileOptions),
)


def load_h5ad(name: str, source: Path | None, params: Mapping[str, Any]) -> Stored:
    """Return the dataset in a user's file, named after the file; its matrices stay on disk."""
    if source is None:
        raise DataError(f"dataset {name!r} needs a file; name it, e.g. with --data FILE.h5ad")
    options = check_options(FileOptions, name, params)
    stored = open_stored(source, options.modality_key)
    return canonical_dataset(stored, source.stem.removesuffix(".zarr"), source.name, options)


def canonical_dataset(adata: Stored, name: str, origin: str, options: FileOptions) -> Stored:
    """Return the data of a file in the canonical form, with notes in ``uns["pertharness"]["notes"]``.

    Parameters
    ----------
    adata
        Opened file; it does not change. The result reads from it, and converts values when they are read.
    name, origin
        Values for ``uns``.
    options
        The user's options; everything else is detected.

    Raises
    ------
    DataError
        If something in the file cannot be used, or is ambiguous; the message names the flag to use.
    """
    with naming_dataset(name):
        notes: list[str] = []
        tables = understand_tables(adata, options, notes)
        scaled = bring_to_scale(tables, options, notes)
        dataset = Stored(scaled.matrix, tables.obs, tables.var, {}, _layers_of(tables, scaled))
        return seal_dataset(dataset, tables, options, name, origin, notes)


@contextlib.contextmanager
def naming_dataset(name: str) -> Iterator[None]:
    """Put the name of the dataset in front of error messages."""
    try:
        yield
    except DataError as error:
        raise type(error)(str(error) if str(error).startswith("dataset ") else f"dataset {name!r}: {error}") from error


@dataclass(frozen=True)
class Tables:
    """The cells and genes of a file, from its tables.

    Attributes
    ----------
    adata
        The file, or its ``raw`` as a dataset.
    rows
        Indices of the rows in use, ascending.
    in_context
        Indices of all rows in the context, including those that are left out.
    context
        Context of these rows; None if it is unknown.
    obs, var
        Canonical tables of the rows in use.
    labelling
        How the labels were read.
    level
        ``cells`` or ``pseudobulk``.
    """

    adata: Stored
    rows: np.ndarray
    in_context: np.ndarray
    context: str | None
    obs: pd.DataFrame
    var: pd.DataFrame
    labelling: Labelling
    level: str


def understand_tables(adata: Stored, options: FileOptions, notes: list[str]) -> Tables:
    """Interpret ``obs`` and ``var`` of a file; no values of matrices are read.

    Parameters
    ----------
    notes
        Receives a line for everything that was detected or done, even if an error follows.

    Raises
    ------
    DataError
        If something cannot be used, or is ambiguous; the message names the flag to use.
    """
    adata = _take_raw(adata, options)
    if adata.n_obs == 0 or adata.n_vars == 0:
        raise DataError(f"it is empty: {adata.n_obs} rows x {adata.n_vars} genes; expected cells and genes")
    in_context, context = choose_context(adata.obs, options, notes)
    with explaining_missing_controls(adata.var, adata.obs, in_context, options):
        var, labelling = read_names(adata.var, _rows_of_table(adata.obs, in_context), options, notes)
    rows = keep_labelled(adata.obs, in_context, labelling, notes)
    rows = choose_conditions(adata.obs, rows, labelling, options, notes)
    used_obs = _rows_of_table(adata.obs, rows)
    obs = label_rows(used_obs, labelling, notes)
    notes += note_perturbations(obs["perturbation"], labelling, set(var.index))
    level = _find_level(obs, options, notes)
    _add_numbers(obs, used_obs, level)
    return Tables(adata, rows, in_context, context, obs, var, labelling, level)


@dataclass(frozen=True)
class Scaled:
    """The values of a file, their survey, and a matrix that converts them to log1p of counts per 10 000 when read."""

    values: Values
    survey: Survey
    matrix: Any


def bring_to_scale(
    tables: Tables, options: FileOptions, notes: list[str], sample: np.ndarray | None = None
) -> Scaled:  # fmt: skip
    """Detect the scale of a file's values, and convert them to log1p of counts per 10 000.

    Parameters
    ----------
    notes
        Receives a line on the scale.
    sample
        Indices into ``tables.rows``, ascending, if only some rows are converted; None for all.

    Raises
    ------
    DataError
        If the values cannot be used; the message names the flag to use.
    """
    rows = tables.rows if sample is None else tables.rows[sample]
    chosen = _choose_values(tables.adata, rows, options)
    values, survey = survey_values(chosen, are_counts=options.scale == "counts")
    totals = tables.obs["total_counts"].to_numpy() if "total_counts" in tables.obs else None
    totals = totals if totals is None or sample is None else totals[sample]
    stated = options.layer is None and _stated(tables.adata).get("scale") == SCALE
    matrix = to_log1p(values, survey, totals, options, notes, level=tables.level, stated=stated)
    return Scaled(values, survey, matrix)


def _layers_of(tables: Tables, scaled: Scaled) -> dict[str, Any]:
    """Return the layers to keep: counts of cells, or all layers of means; add missing totals to ``obs``."""
    if tables.level != "cells":  # layers of means, such as those of halves
        return {name: _rows_of(matrix, tables.rows) for name, matrix in layers_of(tables.adata).items()}
    layers, sums = find_counts(tables.adata, tables.rows, scaled)
    if "total_counts" not in tables.obs and sums is not None:
        tables.obs["total_counts"] = sums
    return layers


def seal_dataset(
    dataset: Stored, tables: Tables, options: FileOptions, name: str, origin: str, notes: list[str]
) -> Stored:  # fmt: skip
    """Add the context and ``uns`` to a dataset, set the type of its values, and check everything but the values."""
    if tables.context is not None:
        dataset.obs["context"] = categorical([tables.context] * len(dataset.obs))
    keeps_double = tables.level == "pseudobulk" and dataset.X.dtype == np.float64
    dataset.X = dataset.X if keeps_double else as_type(dataset.X, np.float32)
    fields = {"name": name, "level": tables.level, "scale": SCALE, "origin": origin, "notes": "\n".join(notes)}
    modality = options.modality or _stated(tables.adata).get("modality")
    dataset.uns[KEY] = fields | ({"modality": modality} if modality else {})
    check_dataset(dataset, name, with_values=False)  # the survey has checked them
    return dataset


def _stated(adata: Stored) -> Mapping[str, Any]:
    """Return the fields in ``uns`` of a file that is already canonical; empty for others."""
    fields = adata.uns.get(KEY, {})
    return fields if isinstance(fields, Mapping) else {}


def _find_level(obs: pd.DataFrame, options: FileOptions, notes: list[str]) -> str:
    """Return whether the rows are ``cells``, or a ``pseudobulk`` of one row per perturbation."""
    if options.level is not None:
        return options.level
    is_mean = not obs["perturbation"].duplicated().any()
    level = "pseudobulk" if is_mean else "cells"
    notes.append(f"level: {level} ({'one row' if is_mean else 'more than one row'} per perturbation)")
    return level


def _take_raw(adata: Stored, options: FileOptions) -> Stored:
    """Return ``raw`` as a dataset with its own genes if the user chose it, else the file itself."""
    if options.layer != RAW or RAW in adata.layers or adata.raw is None:
        return adata
    return Stored(None, adata.obs, adata.raw.var, adata.uns, {RAW: adata.raw.X})


def _choose_values(adata: Stored, rows: np.ndarray, options: FileOptions) -> Values:
    """Return the rows in use of the chosen matrix."""
    layers = sorted(layers_of(adata))
    offered = layers if adata.raw is None or RAW in layers else [*layers, RAW]
    if options.layer is not None and options.layer not in layers:
        raise DataError(f"there is no layer {options.layer!r} (--layer); the file has {quote(offered)}")
    matrix = adata.X if options.layer is None else adata.layers[options.layer]
    where = "X" if options.layer is None else f"layers[{options.layer!r}]"
    if matrix is None:
        raise DataError(f"it has no X; take a layer with --layer ({quote(offered)})")
    others = [layer for layer in offered if layer != options.layer]
    return Values(_rows_of(matrix, rows), where, adata.obs_names[rows], adata.var_names, others)


def _rows_of(matrix: Any, rows: np.ndarray) -> Any:
    """Return some rows of a matrix."""
    return as_source(matrix) if len(rows) == matrix.shape[0] else take_rows(matrix, rows)


def _rows_of_table(table: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    """Return some rows of a table; the table itself if these are all, because copies of many texts are slow."""
    return table if len(rows) == len(table) else table.iloc[rows]


def _add_numbers(obs: pd.DataFrame, file_obs: pd.DataFrame, level: str) -> None:
    """Add total counts of cells, or numbers of averaged cells, to ``obs`` if the file has them."""
    import pandas as pd

    column, column_names = ("total_counts", TOTAL_COLUMNS) if level == "cells" else ("n_cells", N_CELLS_COLUMNS)
    for name in (name for lower_name in column_names for name in file_obs.columns if str(name).lower() == lower_name):
        if pd.api.types.is_numeric_dtype(file_obs[name].dtype) and not file_obs[name].isna().any():
            numbers = file_obs[name].to_numpy()
            obs[column] = numbers.astype(np.float64 if level == "cells" else np.int64)
            return


def find_counts(adata: Stored, rows: np.ndarray, scaled: Scaled) -> tuple[dict[str, Any], np.ndarray | None]:
    """Return the layer ``counts`` for some rows, and the sum of each row; an empty dict and None without counts."""
    values = scaled.values
    candidates = {values.where: (values, scaled.survey)}
    if "counts" in adata.layers and values.where != "layers['counts']":
        layer = Values(_rows_of(adata.layers["counts"], rows), "layers['counts']", values.rows, values.genes, [])
        candidates = {layer.where: survey_values(layer)} | candidates
    for counts, survey in candidates.values():
        if not {"fraction", "negative"} & set(survey.first):
            return {"counts": as_type(counts.matrix, np.float32)}, survey.sums
    return {}, None
