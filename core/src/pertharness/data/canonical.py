"""The canonical dataset: its checks, its means, and selections without leaks.

It is an AnnData with log1p of counts per 10 000 in ``X`` (docs/data.md). anndata and pandas are imported when needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pertharness.contract.errors import DataError
from pertharness.contract.labels import CONTROL, targets_of
from pertharness.data.expression import open_stored as open_stored
from pertharness.data.expression import read as read
from pertharness.data.expression import write as write
from pertharness.data.streaming import position_of, row_chunks, stored_values, sum_groups

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from pertharness.data.stored import Stored

Dataset = TypeVar("Dataset", "AnnData", "Stored")
KEY = "pertharness"
"""Key of ``uns`` with the name, level, scale, modality and origin."""
SCALE = "log1p CP10k"
LEVELS = ("cells", "pseudobulk")
MODALITIES = {"crispra": 1.0, "crispri": -1.0, "ko": -1.0}
"""Modality -> direction in which it changes the expression of its targets."""
LOG1P_CEILING = float(np.log1p(1e4)) + 1e-2
"""Largest value: log1p(10 000) = 9.21, if one gene has all counts of a cell; the margin is for float16 and rounding."""
EFFECT_PANEL = 1000
"""Number of genes with the highest control mean that the effect is measured over (doi 10.1038/s41592-025-02772-6)."""
_SHARED_FIELDS = ("name", "level", "scale", "modality", "origin")
_JOB_OBS = ("perturbation", "label_given", "context", "total_counts", "n_cells", "genes")


def check_dataset(adata: AnnData | Stored, name: str, *, with_values: bool = True) -> None:
    """Check that a dataset has the canonical form, in one pass over its values.

    Raises
    ------
    DataError
        For the first problem, with the value and what to do.
    """
    for check in _CHECKS if with_values else _CHECKS[:-1]:
        problem = check(adata)
        if problem:
            raise DataError(f"dataset {name!r}: {problem}")


def _check_shape(adata: AnnData | Stored) -> str | None:
    """Return the problem if there are no rows or no genes."""
    if adata.n_obs == 0 or adata.n_vars == 0 or adata.X is None:
        return f"it is empty ({adata.n_obs} rows x {adata.n_vars} genes); expected at least one row and one gene"
    return None


def _check_fields(adata: AnnData | Stored) -> str | None:
    """Return the problem if a field of ``uns`` is missing or has an unknown value."""
    fields = adata.uns.get(KEY)
    if not isinstance(fields, Mapping):
        return (
            f"uns[{KEY!r}] is missing: this is an h5ad of another kind; load it with the dataset 'h5ad' (--data FILE)"
        )
    allowed = {"level": LEVELS, "scale": (SCALE,)} | ({"modality": tuple(MODALITIES)} if "modality" in fields else {})
    for field in ("name", "origin"):
        if not isinstance(fields.get(field), str):
            return f"uns[{KEY!r}][{field!r}] is {fields.get(field)!r}; expected a text"
    for field, values in allowed.items():
        if fields.get(field) not in values:
            return f"uns[{KEY!r}][{field!r}] is {fields.get(field)!r}; expected {' or '.join(map(repr, values))}"
    return None


def _check_labels(adata: AnnData | Stored) -> str | None:
    """Return the problem if labels are missing, not canonical, or too few."""
    for column in ("perturbation", "label_given"):
        if column not in adata.obs:
            return f"obs[{column!r}] is missing (columns: {_some(adata.obs.columns)}); name it with --label-column"
        if adata.obs[column].isna().any():
            row = adata.obs_names[adata.obs[column].isna().to_numpy()][0]
            return f"obs[{column!r}] is empty in row {row!r}; remove such rows or give them a label"
    labels = list(adata.obs["perturbation"].unique())
    for label in labels:
        try:
            targets_of(label)
        except (DataError, AttributeError) as error:
            return f"obs['perturbation'] has the label {label!r}: {error}"
    if CONTROL not in labels:
        return (
            f"obs['perturbation'] has no {CONTROL!r} (labels: {_some(labels)}); name the control with --control-label"
        )
    if len(labels) < 3:
        listed = _some([label for label in labels if label != CONTROL])
        return f"it has {len(labels) - 1} perturbation besides the control ({listed}); expected at least 2"
    return None


def _check_genes(adata: AnnData | Stored) -> str | None:
    """Return the problem if a gene name is duplicated or empty."""
    doubled = adata.var_names[adata.var_names.duplicated()].unique()
    if len(doubled):
        return (
            f"{len(doubled)} gene names occur more than once ({_some(doubled)}); take another column with --gene-column"
        )
    if (adata.var_names == "").any():
        at = int(np.argmax(adata.var_names == ""))
        return f"gene {at} has the empty name ''; take another column with --gene-column"
    return None


def _check_context(adata: AnnData | Stored) -> str | None:
    """Return the problem if there is more than one context."""
    contexts = list(adata.obs["context"].unique()) if "context" in adata.obs else []
    if len(contexts) > 1:
        return f"obs['context'] has {len(contexts)} values ({_some(contexts)}); expected one: choose it with --context"
    return None


def _check_level(adata: AnnData | Stored) -> str | None:
    """Return the problem if a perturbation has several rows at level pseudobulk."""
    labels = adata.obs["perturbation"]
    if adata.uns[KEY]["level"] == "pseudobulk" and labels.duplicated().any():
        label = labels[labels.duplicated()].iloc[0]
        return f"{label!r} has {int((labels == label).sum())} rows at level 'pseudobulk'; expected one: --level cells"
    return None


def _check_matrix(adata: AnnData | Stored) -> str | None:
    """Return the problem if the matrix has another type, or values that log1p of counts per 10 000 cannot have."""
    is_dense = isinstance(adata.X, np.ndarray) or hasattr(adata.X, "chunks")  # in memory, or in a file
    if not is_dense and getattr(adata.X, "format", None) not in ("csr", "dense"):
        return f"X is a {type(adata.X).__name__}; expected a numpy array or a scipy CSR matrix"
    # Means are float64: with float32, rounding alone would look like interactions to the additive model.
    types = ("float32", "float64") if adata.uns[KEY]["level"] == "pseudobulk" else ("float32",)
    if adata.X.dtype.name not in types:
        return f"X has the type {adata.X.dtype.name!r}; expected {' or '.join(types)}"
    first_bad = find_value(adata.X, lambda x: ~((x >= 0) & (x <= LOG1P_CEILING)))
    if first_bad is None:
        return None
    row, gene, value = first_bad
    remedy = "at most log1p(10 000) = 9.21; raw counts: --scale counts --normalise"
    if not np.isfinite(value):
        remedy = "a finite number; remove the row or the gene, or set the value"
    elif value < 0:
        remedy = f"0 or more ({SCALE}); z-scores cannot be used: give unscaled values, e.g. with --layer"
    return f"X has {value!r} in row {adata.obs_names[row]!r}, gene {adata.var_names[gene]!r}; expected {remedy}"


# The order matters: a check relies on those before it.
_CHECKS: tuple[Callable[[Any], str | None], ...] = (
    _check_shape, _check_fields, _check_labels, _check_genes, _check_context, _check_level, _check_matrix,
)  # fmt: skip


def find_value(matrix: Any, is_bad: Callable[[np.ndarray], np.ndarray]) -> tuple[int, int, float] | None:
    """Return row, column and value of the first bad value, in row order; None if there is none.

    Parameters
    ----------
    matrix
        Shape (n_obs, n_genes), see ``pertharness.data.streaming``; of a sparse matrix the stored values are tested.
    is_bad
        Function of an array that returns a boolean array of the same shape.
    """
    for start, chunk in row_chunks(matrix):
        values = stored_values(chunk)
        bad = is_bad(values)
        if bad.any():
            at = int(np.argmax(bad))
            row, column = position_of(chunk, at)
            return start + row, column, float(values[at])
    return None


def _some(values: Iterable[Any], most: int = 5) -> str:
    """Return the first few values, quoted."""
    quoted = [repr(value) for value in values]
    return ", ".join(quoted[:most]) + (", ..." if len(quoted) > most else "") or "none"


def _group_means(matrix: Any, groups: np.ndarray, n_groups: int) -> np.ndarray:
    """Return the mean of the rows of each group, shape (n_groups, n_genes), accumulated in float64."""
    means = sum_groups(matrix, groups, n_groups)
    means /= np.bincount(groups, minlength=n_groups).astype(np.float64)[:, None]
    return means


def pseudobulk(adata: AnnData | Stored) -> AnnData:
    """Return the mean expression of each perturbation, including the control, in order of first appearance.

    A dataset on disk is read once, a few megabytes at a time.

    Returns
    -------
    AnnData
        Shape (n_perturbations, n_genes), float64, log1p CP10k. ``obs_names`` are the perturbations; ``obs["n_cells"]``
        is the number of averaged cells, if it is available. The values of a dataset of level pseudobulk do not change.
    """
    import pandas as pd
    from anndata import AnnData

    is_cells = adata.uns[KEY]["level"] == "cells"
    groups, labels = pd.factorize(adata.obs["perturbation"].astype(object))
    names = pd.Index(np.asarray(labels, dtype=object), dtype=object)
    first = np.unique(groups, return_index=True)[1]
    obs = pd.DataFrame({"perturbation": pd.Categorical(names)}, index=names)
    for column in ("label_given", "context", "n_cells", "genes"):
        if column in adata.obs:
            obs[column] = adata.obs[column].astype(object).to_numpy()[first]
    if is_cells:
        obs["n_cells"] = np.bincount(groups)
    elif "n_cells" in obs:
        obs["n_cells"] = adata.obs["n_cells"].to_numpy()[first]
    return AnnData(
        X=_group_means(adata.X, groups, len(names)),
        obs=obs,
        var=_bare_var(adata),
        uns={KEY: {**_shared_fields(adata), "level": "pseudobulk"}},
    )


def control_mean(adata: AnnData | Stored) -> np.ndarray:
    """Return the mean expression of the controls, shape (n_genes,), float64, log1p CP10k; for either level.

    Raises
    ------
    DataError
        If there are no controls.
    """
    rows = np.flatnonzero((adata.obs["perturbation"] == CONTROL).to_numpy())
    if not len(rows):
        raise DataError(
            f"there is no {CONTROL!r} among {_some(adata.obs['perturbation'].unique())}; expected a row of it"
        )
    mean: np.ndarray = _group_means(_rows_of(adata)(adata.X, rows), np.zeros(len(rows), dtype=np.intp), 1)[0]
    return mean


def describe_perturbations(pseudobulk: AnnData) -> pd.DataFrame:
    """Return a table that describes each perturbation of a pseudobulk, including the control, in the same order.

    Returns
    -------
    DataFrame
        Columns: perturbation; label_given; n_cells (empty if unknown); n_targets; effect: l2 norm of the difference
        from the control over the 1000 genes with the highest control mean (ties in data order); on_target: whether all
        measured targets changed in the modality's direction, empty if no target is measured or the modality is unknown;
        genes: target genes joined by ``+``, only if ``obs`` has them (the targets are guides then).
    """
    import pandas as pd

    y0 = control_mean(pseudobulk)
    change = np.asarray(pseudobulk.X, dtype=np.float64) - y0
    panel = np.argsort(-y0, kind="stable")[:EFFECT_PANEL]
    direction = MODALITIES.get(pseudobulk.uns[KEY].get("modality", ""))
    columns = {gene: i for i, gene in enumerate(pseudobulk.var_names)}
    labels = [str(label) for label in pseudobulk.obs["perturbation"]]
    genes = [str(label) for label in pseudobulk.obs["genes"]] if "genes" in pseudobulk.obs else None
    on_target: list[bool | None] = []
    for row, label in enumerate(genes or labels):
        read_out = [columns[target] for target in targets_of(label) if target in columns]
        is_known = bool(read_out) and direction is not None
        on_target.append(bool((change[row, read_out] * direction > 0).all()) if is_known else None)
    n_cells = pseudobulk.obs["n_cells"].to_numpy() if "n_cells" in pseudobulk.obs else [None] * len(labels)
    table: pd.DataFrame = pd.DataFrame(
        {
            "perturbation": labels,
            "label_given": [str(label) for label in pseudobulk.obs["label_given"]],
            "n_cells": pd.array(n_cells, dtype="Int64"),
            "n_targets": [len(targets_of(label)) for label in labels],
            "effect": np.sqrt((change[:, panel] ** 2).sum(axis=1)),
            "on_target": pd.array(on_target, dtype="boolean"),
        }
    )
    if genes is not None:
        table["genes"] = genes
    return table


def select(adata: Dataset, perturbations: list[str]) -> Dataset:
    """Return a copy with the rows of some perturbations, and nothing derived from other rows.

    The order of rows does not change. The copy has these fields only: perturbation, label_given, context, total_counts,
    n_cells and genes in ``obs``, Ensembl ids in ``var``, counts in ``layers``, and name, level, scale, modality and
    origin in ``uns``. Rows of cells are renumbered, because gaps in the old names would reveal how many cells were left
    out; rows of a pseudobulk are named after their perturbations. Matrices on disk stay there until the selection is
    written.

    Raises
    ------
    DataError
        If the dataset lacks one of the perturbations.
    """
    import pandas as pd

    labels = adata.obs["perturbation"].astype(object)
    missing = sorted(set(perturbations) - set(labels))
    if missing:
        raise DataError(
            f"{len(missing)} perturbations are not in the dataset ({_some(missing)}); expected some that are"
        )
    rows = np.flatnonzero(labels.isin(perturbations).to_numpy())
    old = adata.obs.iloc[rows]
    is_cells = adata.uns[KEY]["level"] == "cells"
    names = pd.RangeIndex(len(rows)).astype(str) if is_cells else old["perturbation"].astype(str)
    obs = pd.DataFrame(index=pd.Index(np.asarray(names, dtype=object), dtype=object))
    for column in [column for column in _JOB_OBS if column in old]:
        values = old[column].to_numpy()
        is_text = isinstance(old[column].dtype, pd.CategoricalDtype) or values.dtype == object
        obs[column] = pd.Categorical(np.asarray(values, dtype=object)) if is_text else values.copy()
    take = _rows_of(adata)
    layers = {key: take(adata.layers[key], rows) for key in ("counts",) if key in adata.layers}
    uns = {KEY: _shared_fields(adata)}
    return type(adata)(X=take(adata.X, rows), obs=obs, var=_bare_var(adata), layers=layers, uns=uns)


def _rows_of(adata: AnnData | Stored) -> Callable[[Any, np.ndarray], Any]:
    """Return a function that selects rows of a matrix: a copy of one in memory, a view of one on disk."""
    from pertharness.data.stored import Stored, take_rows

    return take_rows if isinstance(adata, Stored) else lambda matrix, rows: matrix[rows].copy()


def _bare_var(adata: AnnData | Stored) -> pd.DataFrame:
    """Return a copy of ``var`` with the Ensembl ids as the only column."""
    var: pd.DataFrame = adata.var[[column for column in ("ensembl_id",) if column in adata.var]].copy()
    return var


def _shared_fields(adata: AnnData | Stored) -> dict[str, Any]:
    """Return the fields of ``uns`` that do not depend on single rows."""
    return {field: adata.uns[KEY][field] for field in _SHARED_FIELDS if field in adata.uns[KEY]}
