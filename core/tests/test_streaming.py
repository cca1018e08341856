"""Streaming: the sums and rows of a matrix are the same however it is stored and however it is cut into chunks."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pytest
import scipy.sparse._sparsetools
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness.contract.errors import DataError
from pertharness.data.canonical import pseudobulk
from pertharness.data.streaming import (
    Compressed,
    View,
    as_source,
    format_of,
    row_chunks,
    row_lengths,
    sum_groups,
    to_memory,
)  # fmt: skip
from scipy import sparse

FORMS = {"dense": np.asarray, "csr": sparse.csr_matrix, "csc": sparse.csc_matrix}


def make_matrix(seed: int, n_rows: int = 30, n_columns: int = 7) -> np.ndarray:
    """Make a sparse matrix with empty rows and columns; the order in which its values are added shows in the sums."""
    rng = np.random.default_rng(seed)
    matrix = np.exp(rng.normal(0, 8, (n_rows, n_columns))) * (rng.random((n_rows, n_columns)) < 0.4)
    matrix[rng.random(n_rows) < 0.2] = 0
    matrix[:, rng.random(n_columns) < 0.2] = 0
    return matrix.astype(np.float32)


def sums_by_loop(matrix: np.ndarray, groups: np.ndarray, n_groups: int) -> np.ndarray:
    sums = np.zeros((n_groups, matrix.shape[1]))
    for row, group in zip(matrix, groups, strict=True):
        sums[group] += row
    return sums


def store(folder: Path, matrix: Any, compression: str | None = None, **options: Any) -> Any:
    """Return a matrix as it lies in an h5ad that anndata wrote."""
    path = folder / "x.h5ad"
    anndata.AnnData(X=matrix).write_h5ad(path, compression=compression, **options)
    return h5py.File(path)["X"]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(sorted(FORMS)), st.sampled_from([1, 20, 100, 1 << 20]))
def test_sums_are_those_of_a_loop_over_rows_to_the_last_bit(seed: int, form: str, n_bytes: int) -> None:
    matrix, groups = make_matrix(seed), np.random.default_rng(seed).integers(0, 5, 30)
    sums = sum_groups(FORMS[form](matrix), groups, 6, n_bytes)
    assert np.array_equal(sums, sums_by_loop(matrix, groups, 6))


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n_bytes", [1, 50, 1 << 20])
def test_a_file_gives_what_memory_gives(form: str, compression: str | None, n_bytes: int, tmp_path: Path) -> None:
    matrix, groups = make_matrix(3, 400, 30), np.random.default_rng(3).integers(0, 5, 400)
    stored = store(tmp_path, FORMS[form](matrix), compression)
    assert format_of(stored) == form
    assert np.array_equal(sum_groups(stored, groups, 5, n_bytes), sums_by_loop(matrix, groups, 5))
    whole = to_memory(stored)
    assert np.array_equal(whole if form == "dense" else whole.toarray(), matrix)


@pytest.mark.parametrize("form", FORMS)
def test_stored_chunks_of_any_size_are_put_together(form: str, tmp_path: Path) -> None:
    matrix, groups = make_matrix(4, 60, 9), np.arange(60) % 4
    with h5py.File(tmp_path / "x.h5", "w") as file:
        if form == "dense":
            file.create_dataset("X", data=matrix, chunks=(7, 4), compression="gzip")
        else:
            made = FORMS[form](matrix)
            group = file.create_group("X")
            group.attrs.update({"encoding-type": f"{form}_matrix", "shape": matrix.shape})
            for name, chunk in (("data", 5), ("indices", 11)):
                group.create_dataset(name, data=getattr(made, name), chunks=(chunk,), compression="gzip")
            group["indptr"] = made.indptr
        for n_bytes in (1, 64, 300, 1 << 20):
            assert np.array_equal(sum_groups(file["X"], groups, 4, n_bytes), sums_by_loop(matrix, groups, 4))


@pytest.mark.parametrize("form", FORMS)
def test_chunks_are_bounded_and_cover_all_rows_in_order(form: str) -> None:
    matrix = make_matrix(5, 200, 10)
    chunks = list(row_chunks(FORMS[form](matrix), n_bytes=160))
    assert np.array_equal(np.vstack([c if form == "dense" else c.toarray() for _, c in chunks]), matrix)
    assert [start for start, _ in chunks] == np.cumsum([0, *(c.shape[0] for _, c in chunks[:-1])]).tolist()
    # 160 bytes are 40 values of 4 bytes, or 20 with an index of 4 bytes each.
    assert max(c.size if form == "dense" else c.nnz for _, c in chunks) <= (40 if form == "dense" else 20)
    assert len(chunks) > 10


@pytest.mark.parametrize("mode", [None, "r"])
@pytest.mark.parametrize("form", FORMS)
def test_the_pseudobulk_of_a_backed_anndata_is_that_of_one_in_memory(
    form: str, mode: str | None, tmp_path: Path
) -> None:
    matrix, labels = make_matrix(6), ["control", "A", "B"] * 10
    fields = {"name": "x", "level": "cells", "scale": "log1p CP10k", "origin": "x"}
    adata = anndata.AnnData(X=FORMS[form](matrix), uns={"pertharness": fields})
    adata.obs["perturbation"] = adata.obs["label_given"] = labels
    adata.write_h5ad(tmp_path / "x.h5ad")
    means = pseudobulk(anndata.read_h5ad(tmp_path / "x.h5ad", backed=mode))
    assert np.array_equal(means.X, sums_by_loop(matrix, np.arange(30) % 3, 3) / 10)


def test_a_view_selects_rows_and_changes_them(tmp_path: Path) -> None:
    matrix, rows = make_matrix(7), np.array([0, 3, 4, 5, 11, 29])
    factors = np.arange(6.0)[:, None]

    def scale(chunk: Any, start: int) -> Any:
        return sparse.csr_matrix(chunk.multiply(factors[start : start + chunk.shape[0]]))

    stored = as_source(store(tmp_path, sparse.csr_matrix(matrix)))
    plain = View(stored, stored.dtype, rows)
    assert np.array_equal(to_memory(plain).toarray(), matrix[rows])
    assert row_lengths(plain).tolist() == (matrix[rows] != 0).sum(axis=1).tolist()
    changed = View(stored, np.dtype(float), rows, scale)
    for n_bytes in (1, 40, 1 << 20):
        found = [chunk.toarray() for _, chunk in row_chunks(View(changed, changed.dtype, np.array([1, 4])), n_bytes)]
        assert np.array_equal(np.vstack(found), matrix[[3, 11]] * [[1], [4]])
    assert to_memory(View(stored, stored.dtype, np.array([], dtype=int))).shape == (0, 7)


class Counted:
    """An array that counts the values that are read from it."""

    def __init__(self, values: np.ndarray, chunks: tuple[int, ...] | None = None) -> None:
        self.values, self.chunks, self.n_read = values, chunks, 0
        self.dtype, self.shape = values.dtype, values.shape

    def __getitem__(self, part: Any) -> np.ndarray:
        read = self.values[part]
        self.n_read += read.size
        return read


FAR_APART = np.array([3, 4, 5, 1000, 1001, 1990])


@pytest.mark.parametrize("chunk", [None, 7, 400])
@pytest.mark.parametrize("form", FORMS)
def test_a_view_of_rows_far_apart_does_not_read_what_lies_between(
    form: str, chunk: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pertharness.data.streaming.GAP_BYTES", 1000)  # of a file in proportion to this one
    matrix = make_matrix(10, 2000, 9)
    if form == "dense":
        source = Counted(matrix, (chunk, 2) if chunk else None)
        size = matrix.size
    else:
        made = FORMS[form](matrix)
        chunks = (chunk,) if chunk else None
        source = Compressed(form, Counted(made.data, chunks), Counted(made.indices, chunks), made.indptr, made.shape)
        size = made.nnz
    for n_bytes in (1, 300, 1 << 20):
        view = View(source, matrix.dtype, FAR_APART)
        chunks_read = list(row_chunks(view, n_bytes))
        rows = np.vstack([c if form == "dense" else c.toarray() for _, c in chunks_read])
        assert np.array_equal(rows, matrix[FAR_APART])
        lengths = [c.shape[0] for _, c in chunks_read]
        assert [start for start, _ in chunks_read] == np.cumsum([0, *lengths[:-1]]).tolist()
    n_read = (source if form == "dense" else source.data).n_read / 3
    # By columns all is gone over; else at most the rows and the stored chunks that they lie in, three runs of them.
    assert n_read == size if form == "csc" else n_read <= 9 * 6 + 3 * 2 * (chunk or 0) * (9 if form == "dense" else 1)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.sampled_from(sorted(FORMS)), st.sampled_from([1, 20, 100, 1 << 20]),
    st.sampled_from([1, 60, 1 << 20]), st.lists(st.integers(0, 29), unique=True),
)  # fmt: skip
def test_a_view_of_any_rows_has_these_rows(seed: int, form: str, n_bytes: int, gap: int, chosen: list[int]) -> None:
    matrix, rows = make_matrix(seed), np.array(sorted(chosen), dtype=int)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pertharness.data.streaming.GAP_BYTES", gap)
        view = View(as_source(FORMS[form](matrix)), matrix.dtype, rows)
        chunks = [c if form == "dense" else c.toarray() for _, c in row_chunks(view, n_bytes)]
    assert np.array_equal(np.vstack([np.empty((0, 7), np.float32), *chunks]), matrix[rows])


def test_a_column_that_is_stored_twice_counts_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = sparse.csr_matrix((np.array([1.0, 2.0, 4.0]), np.array([1, 1, 0]), np.array([0, 2, 3])), (2, 2))
    assert sum_groups(twice, np.array([0, 0]), 1).tolist() == [[4, 3]]
    monkeypatch.delattr(scipy.sparse._sparsetools, "csc_matvec")  # a scipy without this kernel
    assert sum_groups(twice, np.array([0, 0]), 1).tolist() == [[4, 3]]
    matrix, groups = make_matrix(8), np.arange(30) % 3
    assert np.array_equal(sum_groups(sparse.csr_matrix(matrix), groups, 3), sums_by_loop(matrix, groups, 3))


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("indices", 7, "not below 7"),
        ("indices", -1, "not below 7"),
        ("indptr", 9999, "indptr"),
        ("indptr", -1, "indptr"),
    ],
)
def test_indices_and_pointers_that_point_nowhere_are_refused(part: str, value: int, words: str, tmp_path: Path) -> None:
    store(tmp_path, sparse.csr_matrix(make_matrix(9))).file.close()
    with h5py.File(tmp_path / "x.h5ad", "a") as file:
        file["X"][part][2] = value
    with h5py.File(tmp_path / "x.h5ad") as file, pytest.raises(DataError, match=rf"x\.h5ad.*{words}.*write it again"):
        sum_groups(file["X"], np.zeros(30, dtype=int), 1)


def test_a_damaged_chunk_is_refused_with_the_file_and_the_array(tmp_path: Path) -> None:
    data = store(tmp_path, sparse.csr_matrix(make_matrix(10, 3000, 20)), "gzip")["data"]
    place = data.id.get_chunk_info(0)
    data.file.close()
    with (tmp_path / "x.h5ad").open("r+b") as raw:
        raw.seek(place.byte_offset)
        raw.write(b"\xff" * place.size)
    with h5py.File(tmp_path / "x.h5ad") as file, pytest.raises(DataError, match=r"x\.h5ad', '/X/data' cannot be read"):
        sum_groups(file["X"], np.zeros(3000, dtype=int), 1)


@pytest.mark.parametrize("form", FORMS)
def test_memory_does_not_grow_with_the_file(form: str, tmp_path: Path) -> None:
    matrix = make_matrix(11, 20_000, 60)  # 4.8 MB dense, about 3 MB compressed
    stored, groups = store(tmp_path, FORMS[form](matrix)), np.arange(20_000) % 4
    sum_groups(stored, groups, 4, 50_000)
    tracemalloc.start()
    sum_groups(stored, groups, 4, 50_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 800_000
