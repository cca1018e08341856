"""Counts from log values, and expression from embeddings."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pertharness import DataError
from pertharness_foundation.counts import check_log_values, recover_counts, whole_counts
from pertharness_foundation.ridge import fit_ridge
from scipy import sparse

SHARED = Path(os.environ.get("PERTHARNESS_SHARED") or Path(__file__).parents[4] / "shared")
FIXTURE = SHARED / "fixtures" / "shared" / "io.npz"
needs_fixture = pytest.mark.skipif(not FIXTURE.is_file(), reason=f"no {FIXTURE}")


def log_values(counts):
    counts = np.asarray(counts, dtype=np.float64)
    return np.log1p(1e4 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).astype(np.float32)


COUNTS = np.array([[1, 0, 7, 2], [0, 0, 0, 0], [3, 1, 0, 0]])


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csr_array], ids=["dense", "matrix", "array"])
def test_counts_come_back(kind):
    recovered = recover_counts(kind(log_values(COUNTS)))
    dense = recovered.toarray() if sparse.issparse(recovered) else recovered
    np.testing.assert_allclose(dense, COUNTS, rtol=1e-5)
    whole = whole_counts(recovered, "round")
    assert whole.dtype == np.int64
    np.testing.assert_array_equal(whole.toarray() if sparse.issparse(whole) else whole, COUNTS)


def test_truncation_makes_counts_too_small_as_published():
    # 2.9999998 stays below 3 in float32, and 2.99999999 does not.
    assert whole_counts(np.array([2.9999998, 2.99999999, 3.0]), "truncate").tolist() == [2, 3, 3]


def test_a_stored_zero_is_no_smallest_count():
    values = sparse.csr_matrix(log_values(COUNTS))
    values.data[values.data == values.data.max()] = 0
    assert np.isfinite(recover_counts(values).data).all()


@given(st.lists(st.lists(st.integers(0, 400), min_size=3, max_size=3), min_size=1, max_size=4))
def test_sparse_and_dense_agree_to_the_bit(counts):
    values = log_values(counts)
    np.testing.assert_array_equal(recover_counts(sparse.csr_matrix(values)).toarray(), recover_counts(values))


@pytest.mark.parametrize(
    ("value", "message"),
    [(57.0, r"the value 57; .* at most 9.21: are these raw counts\?"), (-0.5, "-0.5; expected"), (np.nan, "no number")],
)
def test_what_cannot_be_log_values_is_refused(value, message):
    with pytest.raises(DataError, match=message):
        recover_counts(np.array([[0.0, value]]))
    with pytest.raises(DataError, match=message):
        check_log_values(sparse.csr_matrix([[0.0, value]]))


@pytest.mark.parametrize(("n", "dimensions"), [(30, 4), (5, 12), (1, 3), (7, 7)])
def test_the_decoder_meets_the_conditions_of_the_minimum(n, dimensions):
    """At the minimum of |Y - XW - b|^2 + alpha |W|^2 its derivatives by W and b are 0."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, dimensions)) + 3, rng.normal(size=(n, 6))
    ridge = fit_ridge(x, y, alpha=0.7)
    rest = y - ridge.predict(x)
    np.testing.assert_allclose(rest.sum(axis=0), 0, atol=1e-10)
    np.testing.assert_allclose(x.T @ rest, 0.7 * ridge.coefficients.T, atol=1e-9)


@pytest.mark.parametrize(
    ("x", "y", "alpha", "message"),
    [
        (np.empty((0, 2)), np.empty((0, 3)), 1.0, "no condition"),
        (np.array([[1.0], [np.nan]]), np.ones((2, 3)), 1.0, "embedding of condition 1"),
        (np.ones((2, 1)), np.array([[1.0], [np.inf]]), 1.0, "expression of condition 1"),
        (np.ones((2, 1)), np.ones((2, 1)), 0.0, "penalty of the ridge decoder is 0.0"),
    ],
    ids=["none", "embedding", "expression", "alpha"],
)
def test_what_cannot_be_fitted_is_an_error(x, y, alpha, message):
    with pytest.raises(DataError, match=message):
        fit_ridge(x, y, alpha)


@pytest.fixture
def arrays():
    with np.load(FIXTURE) as arrays:
        return dict(arrays)


@pytest.mark.reference
@needs_fixture
def test_recovered_counts(arrays):
    recovered = recover_counts(arrays["lognorm"])
    np.testing.assert_allclose(recovered, arrays["recovered_float64"], atol=1e-6)
    np.testing.assert_array_equal(whole_counts(recovered, "round"), arrays["true_counts"])


@pytest.mark.reference
@needs_fixture
def test_truncated_counts(arrays):
    # From the stored values: the last bit of expm1 differs between platforms.
    np.testing.assert_array_equal(whole_counts(arrays["recovered_float64"], "truncate"), arrays["recovered_int64_uce"])


@pytest.mark.reference
@needs_fixture
def test_ridge_decoder(arrays):
    train = arrays["ridge_is_train"]
    ridge = fit_ridge(arrays["ridge_embedding"][train], arrays["ridge_pseudobulk"][train])
    np.testing.assert_allclose(ridge.coefficients, arrays["ridge_coef"], atol=1e-6)
    np.testing.assert_allclose(ridge.intercept, arrays["ridge_intercept"], atol=1e-6)
    np.testing.assert_allclose(ridge.predict(arrays["ridge_embedding"]), arrays["ridge_prediction"], atol=1e-6)
