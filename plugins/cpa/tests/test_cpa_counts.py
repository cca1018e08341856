"""Counts recovered from log1p of counts per 10 000, beside the reference folder and counts that are known."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness import Skip
from pertharness.testing import planted_cells
from pertharness_cpa.counts import read_counts, recover
from scipy import sparse

REFERENCE = Path(os.environ.get("PERTHARNESS_SHARED", Path(__file__).parents[4] / "shared")) / "fixtures/shared/io.npz"


def _cells(counts, totals=None):
    """Cells with these counts, given as log1p of counts per 10 000 alone; `totals`: of more genes than are there."""
    counts = np.asarray(counts, dtype=float)
    sums = counts.sum(axis=1) if totals is None else np.asarray(totals, dtype=float)
    scaled = np.divide(counts * 1e4, sums[:, None], out=np.zeros_like(counts), where=counts > 0)
    obs = pd.DataFrame(index=[str(i) for i in range(len(counts))])
    return AnnData(sparse.csr_matrix(np.log1p(scaled).astype(np.float32)), obs=obs)


@pytest.mark.reference
def test_recovery_equals_the_reference():
    if not REFERENCE.exists():
        pytest.skip(f"there is no {REFERENCE}")
    arrays = np.load(REFERENCE)
    lognorm = arrays["lognorm"]
    recovered = recover(sparse.csr_matrix(lognorm)).toarray()
    np.testing.assert_allclose(recovered, arrays["recovered_float64"], rtol=1e-6, atol=1e-6)
    read = read_counts(AnnData(lognorm))
    np.testing.assert_array_equal(read.matrix.toarray(), arrays["true_counts"][read.kept])
    assert read.kept.all()


def test_the_smallest_value_is_one_count():
    # 1, 2 and 5 of 8 counts: 1250, 2500 and 6250 per 10 000; divided by the smallest 1, 2 and 5 again.
    cells = AnnData(np.log1p(np.array([[1250.0, 0.0, 2500.0, 6250.0]])).astype(np.float32))
    np.testing.assert_allclose(recover(sparse.csr_matrix(cells.X)).toarray(), [[1, 0, 2, 5]], rtol=1e-5)
    read = read_counts(cells)
    assert read.matrix.toarray().tolist() == [[1, 0, 2, 5]]
    assert read.totals == pytest.approx([10_000], rel=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 4000), min_size=6, max_size=6), min_size=1, max_size=5))
def test_counts_with_a_one_among_them_come_back(rows):
    counts = np.array([[1, *row] for row in rows])
    read = read_counts(_cells(counts))
    np.testing.assert_array_equal(read.matrix.toarray(), counts)


def test_a_known_total_finds_counts_that_have_no_one_among_them():
    counts, totals = [[2, 4, 6], [1, 3, 0]], [500, 800]
    cells = _cells(counts, totals)
    assert read_counts(cells).matrix.toarray().tolist() == [[1, 2, 3], [1, 3, 0]]
    cells.obs["total_counts"] = np.array(totals, dtype=float)
    read = read_counts(cells)
    assert read.matrix.toarray().tolist() == counts
    # 12 of 500 and 4 of 800 counts, per 10 000.
    assert read.totals == pytest.approx([240, 50], rel=1e-5)
    cells.obs["total_counts"] = [np.nan, 123.0]  # unknown, and of something else
    assert read_counts(cells).matrix.toarray().tolist() == [[1, 2, 3], [1, 3, 0]]


def test_a_few_cells_without_whole_counts_are_left_out_and_counted():
    counts = np.tile([1.0, 2.0, 3.0], (200, 1))
    counts[[3, 7]] = [1.0, 1.5, 2.25]
    counts[5] = 0
    read = read_counts(_cells(counts))
    assert np.flatnonzero(~read.kept).tolist() == [3, 5, 7]
    assert read.matrix.shape == (197, 3)
    assert len(read.totals) == 197
    assert "2 without whole counts and 1 empty" in read.note


def test_more_of_them_are_refused_with_the_reason():
    counts = np.tile([1.0, 2.0, 3.0], (200, 1))
    counts[:3] = [1.0, 1.5, 2.25]
    with pytest.raises(Skip, match=r"needs counts: .* in 3 of 200 cells.*allowed are 1 %.*layers\['counts'\]"):
        read_counts(_cells(counts))
    assert read_counts(_cells(counts), inexact=0.02).kept.sum() == 197


def test_given_counts_are_taken_as_they_are():
    cells = planted_cells()
    np.testing.assert_array_equal(read_counts(cells).matrix.toarray(), cells.layers["counts"].toarray())
    recovered = cells.copy()
    del recovered.layers["counts"]
    np.testing.assert_array_equal(read_counts(recovered).matrix.toarray(), cells.layers["counts"].toarray())
    cells.layers["counts"] = cells.layers["counts"] * 0.7
    with pytest.raises(Skip, match=r"layers\['counts'\] are no whole numbers in 208 of 208 cells"):
        read_counts(cells)
