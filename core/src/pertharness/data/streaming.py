"""Read matrices that may not fit into memory a few megabytes at a time, from memory, an h5ad or a zarr store.

A matrix here is a numpy array, a scipy CSR or CSC matrix, the ``X`` of a backed AnnData, an array or group of the h5ad
format in HDF5 or zarr, or a ``Compressed`` or ``View`` of this module. scipy is imported when needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pertharness.data.array_parts import Forward, damaged, read_part

CHUNK_BYTES = 16 << 20
"""Bytes per chunk: enough that the cost of a call does not matter, and few enough that copies need little memory."""
GAP_BYTES = 256 << 10
"""Gaps between rows of a view are skipped from this size on; a call takes as long as reading this many bytes."""


@dataclass(frozen=True)
class Compressed:
    """A CSR or CSC matrix with values and indices in memory or on disk, and ``indptr`` in memory."""

    format: str
    data: Any
    indices: Any
    indptr: np.ndarray
    shape: tuple[int, int]

    @property
    def dtype(self) -> Any:
        """Type of the values."""
        return self.data.dtype


@dataclass(frozen=True)
class View:
    """Some rows of a matrix, transformed when they are read; long runs of other rows are skipped.

    Attributes
    ----------
    rows
        Row indices, ascending; None for all rows.
    change
        Function of the rows of a chunk and the index of the first of them in this view. It must return as many rows
        with as many stored values.
    """

    source: Any
    dtype: np.dtype[Any]
    rows: np.ndarray | None = None
    change: Callable[[Any, int], Any] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        n_rows, n_columns = self.source.shape
        return (n_rows if self.rows is None else len(self.rows), n_columns)

    @property
    def format(self) -> str:
        """Format of the chunks: ``csr`` or ``dense``."""
        return format_of(self.source)


def as_source(matrix: Any) -> Any:
    """Return any matrix as a numpy array, an HDF5 dataset, a ``Compressed`` or a ``View``; no values are read."""
    if isinstance(matrix, (np.ndarray, Compressed, View)):
        return matrix
    if hasattr(matrix, "indptr") and hasattr(matrix, "format") and isinstance(matrix.indptr, np.ndarray):
        plain = matrix if matrix.format in ("csr", "csc") else matrix.tocsr()
        return Compressed(plain.format, plain.data, plain.indices, plain.indptr, plain.shape)
    if hasattr(matrix, "group"):  # X of a backed AnnData
        return as_source(matrix.group)
    if hasattr(matrix, "attrs") and hasattr(matrix, "keys"):
        # Up to anndata 0.7 the attributes had other names.
        kind = str(matrix.attrs.get("encoding-type", matrix.attrs.get("h5sparse_format", "")))
        shape = matrix.attrs["shape"] if "shape" in matrix.attrs else matrix.attrs["h5sparse_shape"]
        size = (int(shape[0]), int(shape[1]))
        return _checked(Compressed(kind[:3], matrix["data"], matrix["indices"], matrix["indptr"][:], size))
    return matrix if hasattr(matrix, "chunks") else np.asarray(matrix)


def _checked(source: Compressed) -> Compressed:
    """Raise an error for an invalid ``indptr``, which scipy would use unchecked."""
    indptr, n = source.indptr, source.shape[0 if source.format == "csr" else 1]
    right = len(indptr) == n + 1 and indptr[0] == 0 and (np.diff(indptr) >= 0).all()
    if not right or indptr[-1] > min(source.data.shape[0], source.indices.shape[0]):
        raise damaged(source.data, f"its indptr does not fit a {source.format} matrix of shape {source.shape}")
    return source


def format_of(matrix: Any) -> str:
    """Return ``csr``, ``csc`` or ``dense``."""
    return str(getattr(as_source(matrix), "format", "dense"))


def row_chunks(matrix: Any, n_bytes: int = CHUNK_BYTES) -> Iterator[tuple[int, Any]]:
    """Yield chunks of rows: the index of the first row, and the rows as a numpy array or scipy CSR matrix.

    A chunk has about `n_bytes` of stored values, and at least one row. Each compressed chunk of a file is decompressed
    only once. CSC is first converted to CSR in memory.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    source = as_source(matrix)
    if isinstance(source, View):
        yield from _view_chunks(source, n_bytes)
    elif isinstance(source, Compressed):
        rows = source if source.format == "csr" else as_source(to_memory(source))
        yield from _compressed_chunks(rows, n_bytes)
    else:
        yield from _dense_chunks(source, n_bytes)


def to_memory(matrix: Any) -> Any:
    """Return a matrix in memory: a numpy array, or a scipy CSR matrix if it is sparse."""
    from scipy import sparse

    source = as_source(matrix)
    if isinstance(source, Compressed):
        make = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix}[source.format]
        parts = (read_part(source.data, 0, None), read_part(source.indices, 0, None), source.indptr)
        return sparse.csr_matrix(make(parts, shape=source.shape))
    chunks = [chunk for _, chunk in row_chunks(source)]
    if format_of(source) == "dense":
        return np.concatenate(chunks) if chunks else np.empty(source.shape, source.dtype)
    return sparse.vstack(chunks, format="csr") if chunks else sparse.csr_matrix(source.shape, dtype=source.dtype)


def position_of(chunk: Any, at: int) -> tuple[int, int]:
    """Return the row and the column of the stored value number `at` of a chunk."""
    if isinstance(chunk, np.ndarray):
        row, column = divmod(at, chunk.shape[1])
        return row, column
    return int(np.searchsorted(chunk.indptr, at, side="right")) - 1, int(chunk.indices[at])


def stored_values(chunk: Any) -> np.ndarray:
    """Return the stored values of a chunk, in the order of rows."""
    values: np.ndarray = chunk.ravel() if isinstance(chunk, np.ndarray) else chunk.data
    return values


def first_value(matrix: Any) -> str:
    """Return the first stored value for a message: `` (first value: 'a')``; empty if there is none."""
    source = as_source(matrix)
    while isinstance(source, View):
        source = source.source
    array = source.data if isinstance(source, Compressed) else source
    if not array.size:
        return ""
    return f" (first value: {array[(0,) * array.ndim]!r:.60})"


def row_lengths(matrix: Any) -> np.ndarray:
    """Return the number of stored values of each row of a CSR matrix, shape (n_rows,)."""
    source = as_source(matrix)
    if isinstance(source, View):
        lengths = row_lengths(source.source)
        return lengths if source.rows is None else lengths[source.rows]
    return np.diff(source.indptr)


def sum_groups(matrix: Any, groups: np.ndarray, n_groups: int, n_bytes: int = CHUNK_BYTES) -> np.ndarray:
    """Return the sum of the rows of each group, in one pass and independent of the size of chunks.

    Parameters
    ----------
    matrix
        Shape (n_rows, n_columns).
    groups
        Group of each row, integers from 0; shape (n_rows,).

    Returns
    -------
    ndarray
        Shape (n_groups, n_columns), float64, accumulated in float64.
    """
    source = as_source(matrix)
    sums = np.zeros((n_groups, source.shape[1]))
    if isinstance(source, Compressed) and source.format == "csc":
        for start, columns in _compressed_chunks(source, n_bytes):
            _add_columns(sums[:, start : start + columns.shape[1]], columns, groups)
    else:
        for start, rows in row_chunks(source, n_bytes):
            _add_rows(sums, rows, groups[start : start + rows.shape[0]])
    return sums


def _add_rows(sums: np.ndarray, rows: Any, groups: np.ndarray) -> None:
    """Add rows to the sums of their groups, group by group, so that the sums stay in the processor's cache."""
    order = np.argsort(groups, kind="stable").tolist()
    if isinstance(rows, np.ndarray):
        for row in order:
            sums[groups[row]] += rows[row]
        return
    add = _row_adder(rows.data.astype(np.float64), rows.indices, rows.indptr)
    for row in order:
        add(row, sums[groups[row]])


def _row_adder(values: np.ndarray, indices: np.ndarray, indptr: np.ndarray) -> Callable[[int, np.ndarray], None]:
    """Return a function that adds a row to an array; unlike ``array[indices] += values``, it sums repeated columns."""
    try:
        # The row is the only column of a matrix, times 1. Private, but twice as fast as numpy (ten times numpy < 1.25).
        from scipy.sparse._sparsetools import csc_matvec
    except ImportError:
        return lambda row, array: np.add.at(
            array, indices[indptr[row] : indptr[row + 1]], values[indptr[row] : indptr[row + 1]]
        )
    unit = np.ones(1)
    return lambda row, array: csc_matvec(len(array), 1, indptr[row : row + 2], indices, values, unit, array)


def _add_columns(sums: np.ndarray, columns: Any, groups: np.ndarray) -> None:
    """Add the columns of a CSC matrix to the sums, shape (n_groups, n_columns)."""
    n_groups, n_columns = sums.shape
    cells = np.repeat(np.arange(n_columns) * n_groups, np.diff(columns.indptr))
    cells += groups[columns.indices]
    sums += np.bincount(cells, columns.data, minlength=sums.size).reshape(n_columns, n_groups).T


def _view_chunks(view: View, n_bytes: int) -> Iterator[tuple[int, Any]]:
    """Yield chunks of the rows of a view, up to its last row."""
    source, rows = as_source(view.source), view.rows
    if rows is not None and isinstance(source, Compressed) and source.format == "csc":
        source, rows = _rows_of_columns(source, rows, n_bytes), None
    for start, chunk in _chunks_around(source, rows, n_bytes):
        first = start
        if rows is not None:
            first, last = np.searchsorted(rows, (start, start + chunk.shape[0]))
            if last - first < chunk.shape[0]:
                chunk = chunk[rows[first:last] - start]
        if chunk.shape[0]:
            yield int(first), chunk if view.change is None else view.change(chunk, int(first))
        if rows is not None and (not len(rows) or start + chunk.shape[0] > rows[-1]):
            return


def _chunks_around(source: Any, rows: np.ndarray | None, n_bytes: int) -> Iterator[tuple[int, Any]]:
    """Yield chunks of a matrix that contain `rows`, without long gaps between them."""
    if rows is None or isinstance(source, View):
        yield from row_chunks(source, n_bytes)
    elif isinstance(source, Compressed):
        runs = _runs(rows, source.indptr[rows], source.indptr[rows + 1], source)
        yield from _compressed_chunks(source, n_bytes, runs)
    else:
        stored = _rows_at_a_time(source)
        first = rows // stored * stored
        last = np.minimum(first + stored, source.shape[0])
        yield from _dense_chunks(source, n_bytes, _runs(rows, first * source.shape[1], last * source.shape[1], source))


def _runs(rows: np.ndarray, starts: np.ndarray, stops: np.ndarray, source: Any) -> list[tuple[int, int]]:
    """Return the ranges of rows to read; rows with small gaps between them share a range.

    `starts` and `stops` are the positions of the stored values of each row, or of the block that is read with it.
    """
    if not len(rows):
        return []
    size = source.dtype.itemsize + (source.indices.dtype.itemsize if isinstance(source, Compressed) else 0)
    breaks = np.flatnonzero((starts[1:].astype(np.int64) - stops[:-1]) * size >= GAP_BYTES)
    firsts = rows[np.concatenate([[0], breaks + 1])]
    lasts = rows[np.concatenate([breaks, [len(rows) - 1]])]
    return [(int(first), int(last) + 1) for first, last in zip(firsts, lasts, strict=True)]


def _rows_of_columns(source: Compressed, rows: np.ndarray, n_bytes: int) -> Compressed:
    """Return some rows of a CSC matrix as CSR in memory; values of other rows are dropped at once."""
    from scipy import sparse

    position = np.full(source.shape[0], -1, dtype=np.int32 if len(rows) <= np.iinfo(np.int32).max else np.int64)
    position[rows] = np.arange(len(rows))
    values, indices, ends = [np.empty(0, source.dtype)], [np.empty(0, position.dtype)], [np.zeros(1, dtype=np.int64)]
    for _, columns in _compressed_chunks(source, n_bytes):
        new_rows = position[columns.indices]
        is_selected = new_rows >= 0
        values.append(columns.data[is_selected])
        indices.append(new_rows[is_selected])
        ends.append(ends[-1][-1] + np.concatenate([[0], np.cumsum(is_selected)])[columns.indptr[1:]])
    parts = np.concatenate(values), np.concatenate(indices), np.concatenate(ends)
    csr: Compressed = as_source(sparse.csc_matrix(parts, shape=(len(rows), source.shape[1])).tocsr())
    return csr


def _compressed_chunks(
    source: Compressed, n_bytes: int, runs: Sequence[tuple[int, int]] | None = None
) -> Iterator[tuple[int, Any]]:
    """Yield chunks of the rows of a CSR or the columns of a CSC matrix, in the ascending ranges `runs`."""
    from scipy import sparse

    data, indices = Forward(source.data), Forward(source.indices)
    most = max(1, n_bytes // (source.dtype.itemsize + np.dtype(source.indices.dtype).itemsize))
    indptr = source.indptr
    for start, end in [(0, len(indptr) - 1)] if runs is None else runs:
        while start < end:
            stop = int(np.searchsorted(indptr, indptr[start] + most, side="right")) - 1
            stop = min(end, max(stop, start + 1))
            low, high = int(indptr[start]), int(indptr[stop])
            parts = data.read(low, high), indices.read(low, high), indptr[start : stop + 1] - low
            width = source.shape[1 if source.format == "csr" else 0]
            if high > low and not 0 <= parts[1].min() <= parts[1].max() < width:
                raise damaged(source.indices, f"it has an index that is not below {width}")
            if source.format == "csr":
                yield start, sparse.csr_matrix(parts, shape=(stop - start, source.shape[1]))
            else:
                yield start, sparse.csc_matrix(parts, shape=(source.shape[0], stop - start))
            start = stop


def _dense_chunks(
    source: Any, n_bytes: int, runs: Sequence[tuple[int, int]] | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield chunks of the rows of a dense matrix, aligned to stored chunks, in the ascending ranges `runs`."""
    n_rows, n_columns = source.shape
    stored = _rows_at_a_time(source)
    step = max(1, n_bytes // max(1, n_columns * source.dtype.itemsize) // stored) * stored
    for first, last in [(0, n_rows)] if runs is None else runs:
        end = min(-(-last // stored) * stored, n_rows)
        for start in range(first // stored * stored, end, step):
            yield start, read_part(source, start, min(end, start + step))


def _rows_at_a_time(source: Any) -> int:
    """Return how many rows of a dense matrix are stored together."""
    return int(source.chunks[0]) if getattr(source, "chunks", None) else 1
