"""Thresholds from local fdr and from tails, beside loops and worked numbers."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness_scorers.locfdr import locfdr, nearest_thresholds, tail_thresholds
from scipy.stats import norm

PAIRS = st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 20)), min_size=1, max_size=40)
STANDARD = SimpleNamespace(delta=0.0, sigma=1.0, sigma_right=1.0, p0=1.0)


def test_the_first_of_the_nearest_is_the_threshold():
    values = np.array([3.0, -2.0, 2.0, 0.0, 1.0, -1.0, -2.5])
    fdr = np.array([0.1, 0.375, 0.25, 0.5, 0.75, 0.9, 0.625])
    # Above 0: 2 and 1 are both 0.25 away, 2 comes first. Below: -2 and -2.5 are both 0.125 away. 0 is neither.
    found = nearest_thresholds(values, fdr, level=0.5)
    assert (found.upper, found.lower) == (2.0, -2.0)
    assert (found.rate_at_upper, found.rate_at_lower) == (0.25, 0.375)
    assert (found.n_above, found.n_below) == (1, 1)


def test_a_threshold_without_a_tail_is_flagged():
    found = nearest_thresholds(np.array([1.0, 2.0, -1.0]), np.array([1.0, 1.0, 0.045]))
    assert (found.upper, found.rate_at_upper, found.upper_near, found.n_above) == (1.0, 1.0, False, 1)
    assert found.lower_near


def test_a_side_without_values_has_no_threshold():
    found = nearest_thresholds(np.array([1.0, 2.0, 0.0]), np.array([0.05, 0.0, 1.0]))
    assert np.isnan([found.lower, found.rate_at_lower]).all()
    assert (found.n_below, found.lower_near) == (0, False)
    assert (found.upper, found.n_above) == (1.0, 1)


@given(PAIRS, st.sampled_from([0.05, 0.2]))
@settings(max_examples=50, deadline=None)
def test_nearest_thresholds_are_those_of_a_loop(pairs, level):
    values, fdr = np.array([a for a, _ in pairs], dtype=float), np.array([b / 20 for _, b in pairs])
    upper = lower = None
    for value, rate in zip(values, fdr, strict=True):
        if value > 0 and (upper is None or abs(rate - level) < abs(upper[1] - level)):
            upper = value, rate
        if value < 0 and (lower is None or abs(rate - level) < abs(lower[1] - level)):
            lower = value, rate
    found = nearest_thresholds(values, fdr, level)
    np.testing.assert_array_equal([found.upper, found.rate_at_upper], upper or (np.nan, np.nan))
    np.testing.assert_array_equal([found.lower, found.rate_at_lower], lower or (np.nan, np.nan))
    assert found.n_above == sum(value > found.upper for value in values)


def test_the_tail_threshold_is_the_innermost_at_the_level():
    # 100 values: 4 at 3.0, one each at 2.0, 2.5 and 4.0, 93 at -0.1. P0(Z > 2.5) = 0.00621: 100 x 0.00621 / 5 = 0.124;
    # P0(Z > 2) = 0.02275: 2.275 / 6 = 0.38; P0(Z > 3) = 0.00135: 0.135 over one value; above 4.0 there is none.
    values = np.array([3.0] * 4 + [2.0, 2.5, 4.0] + [-0.1] * 93)
    found = tail_thresholds(STANDARD, values, level=0.13)
    assert (found.upper, found.n_above) == (2.5, 5)
    assert found.rate_at_upper == pytest.approx(100 * norm.sf(2.5) / 5)
    assert np.isnan(found.lower)
    assert tail_thresholds(STANDARD, values, level=0.136).upper == 2.5  # 3.0 is below the level too, and further out
    assert np.isnan(tail_thresholds(STANDARD, values, level=0.05).upper)


@given(
    st.lists(st.integers(-40, 40), min_size=5, max_size=60),
    st.tuples(st.floats(-0.5, 0.5), st.floats(0.3, 1.5), st.floats(0.3, 1.5), st.floats(0.5, 1.0)),
)
@settings(max_examples=50, deadline=None)
def test_tail_thresholds_are_those_of_a_loop(tenths, null):
    values = np.array(tenths) / 10
    delta, left, right, p0 = null

    def tail(t):  # the mass of the split normal beyond t, away from delta
        side = right if t > delta else left
        return 2 * side / (left + right) * norm.sf(abs(t - delta) / side)

    def rate(t, beyond):
        return p0 * len(values) * tail(t) / beyond.sum()

    uppers = [t for t in values if t > max(0, delta) and (values > t).any() and rate(t, values > t) <= 0.3]
    lowers = [t for t in values if t < min(0, delta) and (values < t).any() and rate(t, values < t) <= 0.3]
    result = SimpleNamespace(delta=delta, sigma=left, sigma_right=right, p0=p0)
    found = tail_thresholds(result, values, level=0.3)
    np.testing.assert_array_equal(found.upper, min(uppers, default=np.nan))
    np.testing.assert_array_equal(found.lower, max(lowers, default=np.nan))


def test_tail_thresholds_call_the_planted_values():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 1, 9000), rng.normal(6, 0.5, 500), rng.normal(-6, 0.5, 500)])
    found = tail_thresholds(locfdr(values), values)
    false = (values[:9000] > found.upper).sum()
    assert found.n_above >= 495
    assert false / found.n_above == pytest.approx(0.05, abs=0.04)
    assert found.rate_at_upper == pytest.approx(0.05, abs=0.006)
    assert found.rate_at_upper <= 0.05
