"""Datasets that stay on disk: their matrices are opened, and read or copied a few megabytes at a time.

This is like the backed mode of anndata, but it includes ``layers`` and selections of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness.data.elements import is_null, read_element, read_table
from pertharness.data.streaming import Compressed, View, as_source, format_of, row_chunks, row_lengths, to_memory

if TYPE_CHECKING:
    import h5py
    import pandas as pd
    from anndata import AnnData


@dataclass(frozen=True)
class Raw:
    """The part ``adata.raw`` of a file: values for the same rows and its own genes."""

    X: Any
    var: pd.DataFrame


@dataclass
class Stored:
    """A dataset with the parts of an AnnData, with matrices on disk; see ``pertharness.data.streaming``."""

    X: Any
    obs: pd.DataFrame
    var: pd.DataFrame
    uns: dict[str, Any]
    layers: dict[str, Any] = field(default_factory=dict)
    raw: Raw | None = None
    """Set when a file is opened; never written."""

    @property
    def n_obs(self) -> int:
        """Number of rows."""
        return len(self.obs)

    @property
    def n_vars(self) -> int:
        """Number of genes."""
        return len(self.var)

    @property
    def obs_names(self) -> pd.Index:
        """Names of the rows."""
        return self.obs.index

    @property
    def var_names(self) -> pd.Index:
        """Names of the genes."""
        return self.var.index

    def to_memory(self) -> AnnData:
        """Read the whole dataset into memory."""
        from anndata import AnnData

        layers = {name: to_memory(matrix) for name, matrix in self.layers.items()}
        matrix = None if self.X is None else to_memory(self.X)
        return AnnData(X=matrix, obs=self.obs, var=self.var, uns=self.uns, layers=layers)


def take_rows(matrix: Any, rows: np.ndarray) -> View:
    """Return a view of some rows of a matrix, in ascending order; no values are read."""
    source = as_source(matrix)
    return View(source, np.dtype(source.dtype), rows)


def open_parts(file: Any) -> Stored | None:
    """Return the dataset in an open h5ad or zarr group, with its matrices left on disk.

    None if the file was written by anndata before 0.8.
    """
    tables = [file[name] for name in ("obs", "var")]
    if not all("encoding-type" in table.attrs and hasattr(table, "keys") for table in tables):
        return None
    matrices = {name: file["layers"][name] for name in file.get("layers", ())}
    if "X" in file:
        matrices["X"] = file["X"]
        if (n_dimensions := getattr(file["X"], "ndim", 2)) != 2:  # versions of anndata read it differently
            raise ValueError(f"X is {n_dimensions}-dimensional; expected it to be 2-dimensional, rows x genes")
        if is_null(file["X"]):  # some versions write a null element
            del matrices["X"]
    if not all(_is_matrix(matrix) for matrix in matrices.values()):
        return None
    obs, var = (read_table(table) for table in tables)
    uns = read_element(file["uns"]) if "uns" in file else {}
    sources = {name: as_source(matrix) for name, matrix in matrices.items()}
    for name, source in sources.items():
        _check_shape(name, source, len(obs), len(var))
    return Stored(sources.pop("X", None), obs, var, uns, sources, _open_raw(file, len(obs)))


def _open_raw(file: Any, n_obs: int) -> Raw | None:
    """Return the part ``raw``; None if it is missing or cannot be streamed."""
    group = file.get("raw")
    if not hasattr(group, "keys") or not {"X", "var"} <= set(group) or not _is_matrix(group["X"]):
        return None
    source, var = as_source(group["X"]), read_table(group["var"])
    _check_shape("raw", source, n_obs, len(var))
    return Raw(source, var)


def _check_shape(name: str, source: Any, n_obs: int, n_vars: int) -> None:
    """Raise an error for a matrix that does not match the tables."""
    if tuple(source.shape) != (n_obs, n_vars):
        shape = " x ".join(map(str, source.shape))
        raise ValueError(f"{name} has the shape {shape}, obs has {n_obs} rows and var {n_vars}")
    if isinstance(source, Compressed) and source.data.shape[0] > 0 and source.indptr[-1] == 0:
        raise ValueError(f"{name} has {source.data.shape[0]} values, and its indptr says that no row has one")


def _is_matrix(element: Any) -> bool:
    """Return whether an element of a file is a matrix that can be streamed."""
    kinds = ("csr_matrix", "csc_matrix") if hasattr(element, "keys") else ("array",)
    return str(element.attrs.get("encoding-type", "")) in kinds and getattr(element, "ndim", 2) == 2


def write_matrix(parent: h5py.Group, name: str, matrix: Any) -> None:
    """Write a matrix to a file, uncompressed and a chunk at a time, in the encoding of anndata 0.7 and later."""
    source = as_source(matrix)
    if format_of(source) == "dense":
        dataset = parent.create_dataset(name, source.shape, source.dtype)
        dataset.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        for start, chunk in row_chunks(source):
            dataset[start : start + len(chunk)] = chunk
        return
    source = as_source(to_memory(source)) if format_of(source) == "csc" else source
    indptr = np.concatenate([[0], np.cumsum(row_lengths(source))])
    # scipy uses one type for indices and indptr; 32 bits if they suffice.
    integer = np.dtype(np.int32 if max(indptr[-1], source.shape[1]) <= np.iinfo(np.int32).max else np.int64)
    group = parent.create_group(name)
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": source.shape})
    group["indptr"] = indptr.astype(integer)
    data = group.create_dataset("data", (indptr[-1],), source.dtype)
    indices = group.create_dataset("indices", (indptr[-1],), integer)
    at = 0
    for _, chunk in row_chunks(source):
        part = slice(at, at + len(chunk.data))
        data[part], indices[part] = chunk.data, chunk.indices
        at = part.stop
