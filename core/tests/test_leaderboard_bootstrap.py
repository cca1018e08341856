from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness.host.leaderboard.bootstrap import Bootstrap, holm, two_sided_p
from scipy import stats


def test_holm_worked_example():
    # Sorted: 0.01 x 3 = 0.03; 0.03 x 2 = 0.06; 0.04 x 1 = 0.04, raised to 0.06 so that the order is kept.
    np.testing.assert_allclose(holm(np.array([0.04, np.nan, 0.01, 0.03])), [0.06, np.nan, 0.03, 0.06])


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_agrees_with_statsmodels(p):
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    np.testing.assert_allclose(holm(np.array(p)), multitest.multipletests(p, method="holm")[1], rtol=1e-12)


def test_resamples_are_those_of_a_loop_over_the_same_draws():
    rng = np.random.default_rng(1)
    units = np.array([0, 0, 0, 1, 2, 2, 3])  # perturbation 0 in three splits, 1 in one, ...
    values = rng.normal(size=(2, len(units)))
    bootstrap = Bootstrap(resamples=1200, seed=5, confidence=0.95)  # more than one block
    drawn = bootstrap.weights(4)
    slow = np.empty((2, 1200))
    for i in range(1200):
        rows = [row for unit in range(4) for _ in range(drawn[i, unit]) for row in np.flatnonzero(units == unit)]
        slow[:, i] = values[:, rows].mean(axis=1)
    fast = bootstrap.means(values, units)
    np.testing.assert_allclose(fast, slow, rtol=1e-12)
    low, high = bootstrap.interval(fast)
    np.testing.assert_allclose(low, np.percentile(slow, 2.5, axis=1), rtol=1e-12)
    np.testing.assert_allclose(high, np.percentile(slow, 97.5, axis=1), rtol=1e-12)


def test_every_resample_draws_as_many_units_as_there_are():
    drawn = Bootstrap(resamples=300, seed=0, confidence=0.95).weights(17)
    assert drawn.shape == (300, 17)
    assert (drawn.sum(axis=1) == 17).all()
    assert abs(drawn.mean(axis=0) - 1).max() < 0.25  # 300 Poisson(1)-like counts: standard error 0.06


def test_interval_agrees_with_scipy():
    values = np.random.default_rng(3).gamma(2.0, size=(1, 40))
    bootstrap = Bootstrap(resamples=10_000, seed=0, confidence=0.95)
    low, high = bootstrap.interval(bootstrap.means(values, np.arange(40)))
    theirs = stats.bootstrap((values[0],), np.mean, method="percentile", n_resamples=10_000, random_state=1)
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    # Two runs of 10 000 differ by Monte Carlo error alone, a few percent of the width.
    assert abs(low[0] - theirs.confidence_interval.low) < 0.05 * width
    assert abs(high[0] - theirs.confidence_interval.high) < 0.05 * width


def test_p_is_twice_the_smaller_side_and_never_zero():
    # 99 resamples. All above zero: 2 (1 + 0) / 100. Three at or below zero: 2 (1 + 3) / 100. All zero: at most 1.
    rows = np.ones((3, 99))
    rows[1, :2], rows[1, 2] = -1, 1e-15
    rows[2] = 0
    np.testing.assert_allclose(two_sided_p(rows, tolerance=1e-12), [0.02, 0.08, 1.0])


def test_the_same_seed_gives_the_same_resamples_whatever_was_drawn_before():
    first, second = (Bootstrap(resamples=50, seed=7, confidence=0.95) for _ in range(2))
    first.weights(3)
    np.testing.assert_array_equal(first.weights(9), second.weights(9))
    assert (first.weights(9) != Bootstrap(resamples=50, seed=8, confidence=0.95).weights(9)).any()
