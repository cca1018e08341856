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


def write_screen(path: Path, n_cells: int, *, form: str = "csr", compression: str | None = None) -> None:
    """Write a canonical h5ad of cells: `form` is csr, csc or dense; log1p CP10k, 2 000 non-zeros a cell.

    What is compressed has the stored chunks that h5py chooses, as in the files that anndata writes.
    """
    rng = np.random.default_rng(0)
    labels = np.array(["control", *(f"g{i:05d}" for i in range(1, GROUPS))], dtype=object)
    groups = np.concatenate([np.arange(GROUPS), rng.integers(0, GROUPS, n_cells - GROUPS)])
    obs = pd.DataFrame(index=pd.Index([f"c{i}" for i in range(n_cells)], dtype=object))
    obs["perturbation"] = obs["label_given"] = pd.Categorical(labels[groups])
    var = pd.DataFrame(index=pd.Index([f"g{i:05d}" for i in range(GENES)], dtype=object))
    fields = {"name": "made", "level": "cells", "scale": "log1p CP10k", "origin": "made for a benchmark"}
    AnnData(obs=obs, var=var, uns={"pertharness": fields}).write_h5ad(path)
    # One random pattern, turned from piece to piece: drawing each cell's genes anew would take longest of all.
    steps = rng.integers(1, 2 * GENES // NON_ZEROS - 1, (PIECE, NON_ZEROS), dtype=np.int32)
    columns = np.cumsum(steps, axis=1, dtype=np.int32) - 1
    counts = rng.geometric(0.55, (PIECE, NON_ZEROS))
    values = np.log1p(counts * (1e4 / counts.sum(axis=1, keepdims=True))).astype(np.float32)
    with h5py.File(path, "a") as file:
        if "X" in file:
            del file["X"]
        WRITERS[form](file, n_cells, columns, values, compression)


def _write_csr(file: h5py.File, n_cells: int, columns: np.ndarray, values: np.ndarray, compression: str | None) -> None:
    group = file.create_group("X")
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": (n_cells, GENES)})
    group["indptr"] = np.arange(n_cells + 1, dtype=np.int64) * NON_ZEROS
    options = {"shape": (n_cells * NON_ZEROS,), "compression": compression}
    data = group.create_dataset("data", dtype=np.float32, **options)
    indices = group.create_dataset("indices", dtype=np.int32, **options)
    for start in range(0, n_cells, PIECE):
        n = min(PIECE, n_cells - start)
        turned = (start // PIECE + np.arange(n)) % PIECE
        at = slice(start * NON_ZEROS, (start + n) * NON_ZEROS)
        data[at], indices[at] = values[turned].ravel(), columns[turned].ravel()


def _write_csc(file: h5py.File, n_cells: int, columns: np.ndarray, values: np.ndarray, compression: str | None) -> None:
    from scipy import sparse

    turned = (np.arange(n_cells) + np.arange(n_cells) // PIECE) % PIECE
    indptr = np.arange(n_cells + 1, dtype=np.int64) * NON_ZEROS
    rows = sparse.csr_matrix((values[turned].ravel(), columns[turned].ravel(), indptr), (n_cells, GENES))
    columns_first = rows.tocsc()
    group = file.create_group("X")
    group.attrs.update({"encoding-type": "csc_matrix", "encoding-version": "0.1.0", "shape": (n_cells, GENES)})
    for name in ("data", "indices", "indptr"):
        group.create_dataset(name, data=getattr(columns_first, name), compression=compression)


def _write_dense(
    file: h5py.File, n_cells: int, columns: np.ndarray, values: np.ndarray, compression: str | None
) -> None:
    data = file.create_dataset("X", (n_cells, GENES), dtype=np.float32, compression=compression)
    data.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    for start in range(0, n_cells, PIECE):
        n = min(PIECE, n_cells - start)
        block = np.zeros((n, GENES), dtype=np.float32)
        np.put_along_axis(block, columns[:n], values[:n], axis=1)
        data[start : start + n] = block


WRITERS = {"csr": _write_csr, "csc": _write_csc, "dense": _write_dense}
