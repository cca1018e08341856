"""Split each perturbation's cells into two random halves, which serve to calibrate scores.

The halves are read by score jobs and by the prediction of the technical duplicate only, never by a model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness.contract.errors import DataError, Skip
from pertharness.contract.predictions import make_prediction
from pertharness.data.canonical import KEY, LOG1P_CEILING
from pertharness.data.streaming import View, as_source, sum_groups, to_memory

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from pertharness.data.stored import Stored

HALVES = ("half_a", "half_b")
VARIANCE = "variance"
FEWEST_CELLS = 2
"""Fewest cells of a perturbation with halves: one for each half, and one degree of freedom for the variance."""


def halve(adata: AnnData | Stored, rng: np.random.Generator) -> AnnData:
    """Return the means of two random halves of each perturbation's cells, and the variance of all its cells.

    Cells are read twice, a few megabytes at a time. For a dataset of means, its own layers of these names are used.

    Parameters
    ----------
    adata
        Canonical dataset.
    rng
        Generator that assigns cells to halves; if their number is odd, the second half gets one more.

    Returns
    -------
    AnnData
        No X; a row per perturbation, including the control, in order of first appearance. ``layers["half_a"]``,
        ``layers["half_b"]``: shape (n_perturbations, n_genes), float64, log1p CP10k, NaN for a perturbation with fewer
        than 2 cells. ``layers["variance"]``: variance of each gene over the cells (n - 1), if available.
        ``obs["n_cells"]``: number of cells, if available.

    Raises
    ------
    Skip
        If the dataset has neither cells nor layers with halves.
    DataError
        If layers of halves or variances have impossible values.
    """
    import pandas as pd
    from anndata import AnnData

    groups, labels = pd.factorize(adata.obs["perturbation"].astype(object))
    index = pd.Index(np.asarray(labels, dtype=object), dtype=object)
    obs = pd.DataFrame({"perturbation": pd.Categorical(index)}, index=index)
    if adata.uns[KEY]["level"] == "cells":
        obs["n_cells"] = np.bincount(groups)
        layers = _halves_of_cells(adata.X, groups, rng)
    else:  # one row per perturbation, so the rows are the groups
        if "n_cells" in adata.obs:
            obs["n_cells"] = adata.obs["n_cells"].to_numpy()
        layers = _halves_as_given(adata)
    return AnnData(obs=obs, var=pd.DataFrame(index=adata.var_names.copy()), layers=layers)


def _halves_of_cells(matrix: Any, groups: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the layers: the means of both halves, and the variance, of each group of cells."""
    n_cells = np.bincount(groups)
    halves = 2 * groups + _second_half(groups, rng)
    sums = sum_groups(matrix, halves, 2 * len(n_cells))
    # Squares of log1p values are at most 85: in float64 their sums over a million cells are exact to 1e-8.
    squares = sum_groups(View(as_source(matrix), np.dtype(np.float64), change=_square), groups, len(n_cells))
    n_halves = np.bincount(halves, minlength=2 * len(n_cells))[:, None]
    few = n_cells < FEWEST_CELLS
    with np.errstate(invalid="ignore", divide="ignore"):  # groups with too few cells become NaN below
        variance = squares - (sums[0::2] + sums[1::2]) ** 2 / n_cells[:, None]
        variance = np.maximum(variance, 0.0) / (n_cells[:, None] - 1)
        means = sums / n_halves
    layers = {"half_a": means[0::2].copy(), "half_b": means[1::2].copy(), VARIANCE: variance}
    for values in layers.values():
        values[few] = np.nan
    return layers


def _second_half(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return 1 for rows in the second half of their group, else 0; shape (n_rows,)."""
    n_cells = np.bincount(groups)
    order = rng.permutation(len(groups))
    order = order[np.argsort(groups[order], kind="stable")]
    rank = np.arange(len(groups)) - np.repeat(np.cumsum(n_cells) - n_cells, n_cells)
    second = np.empty(len(groups), dtype=np.intp)
    second[order] = rank >= np.repeat(n_cells // 2, n_cells)
    return second


def _square(chunk: Any, start: int) -> Any:
    """Square the values of a chunk, in float64."""
    exact = chunk.astype(np.float64)
    if isinstance(exact, np.ndarray):
        return np.square(exact)
    exact.sum_duplicates()  # a column that occurs twice counts as the sum of its values
    exact.data **= 2
    return exact


def _halves_as_given(adata: AnnData | Stored) -> dict[str, np.ndarray]:
    """Return the layers of halves and variances of a dataset of means."""
    if not {*HALVES} <= {*adata.layers}:
        raise Skip(
            "the dataset holds means and no cells, and no layers 'half_a' and 'half_b' with the means of two halves of "
            "each perturbation's cells: it is unknown how well a measurement can be repeated"
        )
    names = [name for name in (*HALVES, VARIANCE) if name in adata.layers]
    layers = {name: np.asarray(_dense(adata.layers[name]), dtype=np.float64) for name in names}
    for name, values in layers.items():
        ceiling = np.inf if name == VARIANCE else LOG1P_CEILING
        bad = np.isinf(values) | (values < 0) | (values > ceiling)
        if bad.any():
            row, gene = np.argwhere(bad)[0]
            label, symbol = adata.obs["perturbation"].iloc[row], adata.var_names[gene]
            raise DataError(
                f"layers[{name!r}] has {values[row, gene]} for {label!r}, gene {symbol!r}; expected "
                + ("variances" if name == VARIANCE else "means of log1p of counts per 10 000, at most 9.21")
                + ", or NaN where there are none"
            )
    gaps = np.isnan(layers["half_a"]).any(axis=1) | np.isnan(layers["half_b"]).any(axis=1)
    if gaps.all():
        raise Skip("no perturbation has values for all genes in both of the layers 'half_a' and 'half_b'")
    for name in HALVES:
        layers[name][gaps] = np.nan
    return layers


def _dense(matrix: Any) -> Any:
    """Return a matrix as a numpy array in memory."""
    values = to_memory(matrix)
    return values.toarray() if hasattr(values, "toarray") else values.copy()


def measured_twice(halves: AnnData) -> set[str]:
    """Return the perturbations that have halves."""
    has_halves = ~np.isnan(np.asarray(halves.layers["half_a"])[:, 0])
    return {str(label) for label in halves.obs_names[has_halves]}


def predict_duplicate(halves: AnnData, queries: list[str], genes: pd.Index) -> AnnData:
    """Return the technical duplicate: the first half of each query's cells as a prediction."""
    measured = measured_twice(halves)
    rows = np.asarray(halves.layers["half_a"])[halves.obs_names.get_indexer(queries)]
    means = {query: row for query, row in zip(queries, rows, strict=True) if query in measured}
    missing = [query for query in queries if query not in measured]
    return make_prediction(means, genes, dict.fromkeys(missing, "its cells are not there in two halves"))


def with_halves(means: AnnData, halves: AnnData) -> AnnData:
    """Return a copy of means with the layers of the halves, and with the variance if available."""
    rows = halves.obs_names.get_indexer(means.obs["perturbation"].astype(str))
    copy = means.copy()
    for name in halves.layers:
        if name is not None:  # anndata 0.13 counts X as a layer of this name
            copy.layers[name] = np.asarray(halves.layers[name])[rows]
    return copy


def against_half(means: AnnData, halves: AnnData) -> AnnData:
    """Return a copy of means with the values of the second half for each perturbation that has halves."""
    labels = means.obs["perturbation"].astype(str)
    has_half = labels.isin(measured_twice(halves)).to_numpy()
    copy = means.copy()
    values = np.array(means.X, dtype=np.float64)
    values[has_half] = np.asarray(halves.layers["half_b"])[halves.obs_names.get_indexer(labels[has_half])]
    copy.X = values
    return copy
