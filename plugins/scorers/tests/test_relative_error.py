"""The error relative to that of the mean of the training perturbations."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness import CONTROL
from pertharness_scorers.relative_error import score_relative_error

GENES = ["A", "B"]
Y0 = [0, 3]
TRAIN = {CONTROL: Y0, "T": [2, 0], "U": [4, 0]}


def _means(rows, genes=GENES):
    obs = pd.DataFrame({"perturbation": list(rows)}, index=[f"row{i}" for i in range(len(rows))])
    x = np.array(list(rows.values()), dtype=float).reshape(len(rows), len(genes))
    return AnnData(X=x, obs=obs, var=pd.DataFrame(index=list(genes)))


def _values(y, yhat, train=TRAIN, n_top=1000):
    """Return the mean over perturbations per variant, as a leaderboard does, and the ratio of means."""
    table = score_relative_error(_means(y), _means(yhat), _means({CONTROL: Y0}), _means(train), {"n_top": n_top})
    single, whole = (table[table["metric"] == name] for name in ("relative_error", "ratio_of_means"))
    assert list(single["perturbation"]) == list(yhat) * 2
    assert list(whole["perturbation"]) == [""]
    means = single.groupby("variant")["value"].mean()
    return {variant: means.get(variant, np.nan) for variant in ("default", "published-code")} | {
        "ratio-of-means": whole["value"].iloc[0]
    }


def test_error_is_relative_to_the_mean_of_the_training_conditions():
    # The mean of T and U is (3, 0): it misses X by 4 and Y by 2; the model by 2 and 4.
    # With the control it is (2, 1): it misses X by sqrt(1 + 9) and Y by sqrt(1 + 1).
    values = _values({"X": [3, 4], "Y": [3, 2]}, {"X": [3, 2], "Y": [3, 6]})
    assert values["default"] == pytest.approx((2 / 4 + 4 / 2) / 2 - 1)
    assert values["ratio-of-means"] == pytest.approx((2 + 4) / (4 + 2) - 1)
    with_control = 10**0.5, 2**0.5
    assert values["published-code"] == pytest.approx((2 / with_control[0] + 4 / with_control[1]) / 2 - 1)


def test_mean_baseline_has_0_and_a_perfect_prediction_minus_1():
    y = {"X": [3, 4], "Y": [0, 2]}
    mean = _values(y, {"X": [3, 0], "Y": [3, 0]})
    assert mean["default"] == mean["ratio-of-means"] == 0.0
    assert set(_values(y, y).values()) == {-1.0}
    assert _values(y, {"X": [2, 1], "Y": [2, 1]})["published-code"] == 0.0


def test_only_the_panel_counts():
    assert _values({"X": [9, 4]}, {"X": [0, 2]}, n_top=1)["default"] == pytest.approx(2 / 4 - 1)


def test_undefined_perturbations_are_left_out():
    y = {"X": [3, 4], "Y": [3, 2], "Z": [3, 0]}
    # Y has a missing value, and the baseline is right about Z: no ratio, though an error in the sum.
    values = _values(y, {"X": [3, 2], "Y": [np.nan, 2], "Z": [4, 0]})
    assert values["default"] == pytest.approx(2 / 4 - 1)
    assert values["ratio-of-means"] == pytest.approx((2 + 1) / (4 + 0) - 1)


@pytest.mark.parametrize(
    ("yhat", "train"),
    [({}, TRAIN), ({"X": [np.nan, np.nan]}, TRAIN), ({"X": [1, 2]}, {CONTROL: Y0})],
)
def test_nothing_to_compare_is_undefined(yhat, train):
    values = _values({"X": [3, 4]}, yhat, train)
    assert np.isnan(values["default"])
    assert np.isnan(values["ratio-of-means"])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 5))
def test_error_stretched_about_the_truth_stretches_the_ratio(seed, factor):
    y = dict(zip("XYZ", np.random.default_rng(seed).normal(size=(3, 2)), strict=True))
    off = {label: row + factor * (np.array([3.0, 0.0]) - row) for label, row in y.items()}
    values = _values(y, off)
    assert values["default"] == pytest.approx(factor - 1)
    assert values["ratio-of-means"] == pytest.approx(factor - 1)
