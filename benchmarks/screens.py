"""Made-up screens for the benchmarks, written in pieces, so that a file may be larger than memory."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData

GENES, NON_ZEROS, GROUPS = 19_264, 2_000, 200
PIECE = 2_000
"""Cells that are made at a time."""


def write_screen(
    path: Path, n_cells: int, *, form: str = "csr", compression: str | None = None, n_genes: int = GENES,
    non_zeros: int = NON_ZEROS,
) -> None:  # fmt: skip
    """Write a canonical h5ad of cells: `form` is csr, csc or dense; log1p CP10k, `non_zeros` a cell.

    What is compressed has the stored chunks that h5py chooses, as in the files that anndata writes.
    """
    rng = np.random.default_rng(0)
    labels = np.array(["control", *(f"g{i:05d}" for i in range(1, GROUPS))], dtype=object)
    groups = np.concatenate([np.arange(GROUPS), rng.integers(0, GROUPS, n_cells - GROUPS)])
    obs = pd.DataFrame(index=pd.Index([f"c{i}" for i in range(n_cells)], dtype=object))
    obs["perturbation"] = obs["label_given"] = pd.Categorical(labels[groups])
    var = pd.DataFrame(index=pd.Index([f"g{i:05d}" for i in range(n_genes)], dtype=object))
    fields = {"name": "made", "level": "cells", "scale": "log1p CP10k", "origin": "made for a benchmark"}
    AnnData(obs=obs, var=var, uns={"pertharness": fields}).write_h5ad(path)
    # One random pattern, turned from piece to piece: drawing each cell's genes anew would take longest of all.
    columns = _draw_columns(rng, n_genes, non_zeros)
    counts = rng.geometric(0.55, (PIECE, non_zeros))
    values = np.log1p(counts * (1e4 / counts.sum(axis=1, keepdims=True))).astype(np.float32)
    with h5py.File(path, "a") as file:
        if "X" in file:
            del file["X"]
        WRITERS[form](file, (n_cells, n_genes), columns, values, compression)


def _draw_columns(rng: np.random.Generator, n_genes: int, non_zeros: int) -> np.ndarray:
    """Return the genes of the non-zeros of some cells, ascending, spread over all genes: (PIECE, non_zeros)."""
    longest = 2 * n_genes // non_zeros - 2
    while True:
        steps = rng.integers(1, longest + 1, (PIECE, non_zeros), dtype=np.int32)
        columns = np.cumsum(steps, axis=1, dtype=np.int32) - 1
        if columns.max() < n_genes:
            return columns
        longest -= 1


def _write_csr(
    file: h5py.File, shape: tuple[int, int], columns: np.ndarray, values: np.ndarray, compression: str | None
) -> None:
    n_cells, non_zeros = shape[0], values.shape[1]
    group = file.create_group("X")
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": shape})
    group["indptr"] = np.arange(n_cells + 1, dtype=np.int64) * non_zeros
    options = {"shape": (n_cells * non_zeros,), "compression": compression}
    data = group.create_dataset("data", dtype=np.float32, **options)
    indices = group.create_dataset("indices", dtype=np.int32, **options)
    for start in range(0, n_cells, PIECE):
        n = min(PIECE, n_cells - start)
        turned = (start // PIECE + np.arange(n)) % PIECE
        at = slice(start * non_zeros, (start + n) * non_zeros)
        data[at], indices[at] = values[turned].ravel(), columns[turned].ravel()


def _write_csc(
    file: h5py.File, shape: tuple[int, int], columns: np.ndarray, values: np.ndarray, compression: str | None
) -> None:
    from scipy import sparse

    n_cells, non_zeros = shape[0], values.shape[1]
    turned = (np.arange(n_cells) + np.arange(n_cells) // PIECE) % PIECE
    indptr = np.arange(n_cells + 1, dtype=np.int64) * non_zeros
    rows = sparse.csr_matrix((values[turned].ravel(), columns[turned].ravel(), indptr), shape)
    columns_first = rows.tocsc()
    group = file.create_group("X")
    group.attrs.update({"encoding-type": "csc_matrix", "encoding-version": "0.1.0", "shape": shape})
    for name in ("data", "indices", "indptr"):
        group.create_dataset(name, data=getattr(columns_first, name), compression=compression)


def _write_dense(
    file: h5py.File, shape: tuple[int, int], columns: np.ndarray, values: np.ndarray, compression: str | None
) -> None:
    n_cells, n_genes = shape
    data = file.create_dataset("X", shape, dtype=np.float32, compression=compression)
    data.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    for start in range(0, n_cells, PIECE):
        n = min(PIECE, n_cells - start)
        block = np.zeros((n, n_genes), dtype=np.float32)
        np.put_along_axis(block, columns[:n], values[:n], axis=1)
        data[start : start + n] = block


WRITERS = {"csr": _write_csr, "csc": _write_csc, "dense": _write_dense}
