"""Errors against the difference between contexts."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness import CONTROL
from pertharness_scorers.context_error import fit_line, score_context_error
from scipy.stats import linregress, pearsonr

GENES = ["A", "B", "C", "D"]
Y0 = [4.0, 3.0, 2.0, 1.0]


def _means(rows, genes=GENES):
    obs = pd.DataFrame({"perturbation": list(rows)}, index=[f"row{i}" for i in range(len(rows))])
    x = np.array(list(rows.values()), dtype=float).reshape(len(rows), len(genes))
    return AnnData(X=x, obs=obs, var=pd.DataFrame(index=list(genes)))


def _given(y, yhat, references, n_top=1000):
    train = _means({CONTROL: Y0, "T": [0] * 4})
    given = score_context_error(
        _means(y), _means(yhat), _means({CONTROL: Y0}), train, references, {"n_top": n_top}
    )  # fmt: skip
    assert given.table.empty
    return given.artefacts["context_error"], given.artefacts["context_error_points"]


Y = {"A": [1, 3, 2, 2], "B": [4, 1, 3, 1], "Q": [4, 4, 4, 4]}
YHAT = {"A": [2, 3, 4, 1], "B": [5, 0, 4, 0], "Q": [4, 4, 4, 8]}
ELSEWHERE = _means({CONTROL: [1, 5, 0, 2], "A": [0, 0, 0, 0]}, ["B", "A", "Z", "C"])


def test_points_are_shared_genes_and_perturbations_whose_target_both_measure():
    _, points = _given(Y, YHAT, {"other": ELSEWHERE})
    assert set(points["reference"]) == {"other"}
    genes = points[points["panel"] == "genes"].set_index("name")
    # Control here and there: A 4, 5; B 3, 1; C 2, 2. Errors of A (1, 1, 0), B (0, 1, 0), C (2, 1, 0).
    assert genes["x"].to_dict() == {"A": 1.0, "B": 2.0, "C": 0.0}
    assert genes["y"].to_dict() == pytest.approx({"A": 2 / 3, "B": 1 / 3, "C": 1.0})
    perturbations = points[points["panel"] == "perturbations"].set_index("name")
    assert perturbations["x"].to_dict() == {"A": -1.0, "B": 2.0}  # here minus there; Q is measured nowhere
    delta = {label: pearsonr(np.subtract(YHAT[label], Y0), np.subtract(Y[label], Y0))[0] for label in "AB"}
    assert perturbations["y"].to_dict() == pytest.approx(delta)


def test_lines_equal_scipy_for_each_reference_and_panel():
    lines, points = _given(Y, YHAT, {"one": ELSEWHERE, "two": _means({CONTROL: [1, 2, 3, 9]})})
    assert list(zip(lines["reference"], lines["panel"], strict=True)) == [
        ("one", "genes"), ("one", "perturbations"), ("two", "genes"), ("two", "perturbations"),
    ]  # fmt: skip
    for row in lines.itertuples():
        mine = points[(points["reference"] == row.reference) & (points["panel"] == row.panel)]
        assert row.n == len(mine)
        expected = linregress(mine["x"], mine["y"])
        assert row.slope == pytest.approx(expected.slope)
        if row.n > 2:
            assert row.se == pytest.approx(expected.stderr)
        else:
            assert np.isnan(row.se)


def test_missing_genes_and_broken_answers_have_no_points():
    # C is predicted for none; A's answer has a NaN elsewhere.
    yhat = {"A": [np.nan, 3, np.nan, 1], "B": [5, 0, np.nan, 0]}
    _, points = _given(Y, yhat, {"other": ELSEWHERE})
    genes = points[points["panel"] == "genes"].set_index("name")
    assert genes["y"].to_dict() == {"A": 1.0, "B": 1.0}
    assert set(points[points["panel"] == "perturbations"]["name"]) == {"B"}


def test_genes_off_the_panel_have_no_points():
    _, points = _given(Y, YHAT, {"other": ELSEWHERE}, n_top=2)
    assert set(points[points["panel"] == "genes"]["name"]) == {"A", "B"}


@pytest.mark.parametrize(
    ("yhat", "references"),
    [(YHAT, {}), ({}, {"other": ELSEWHERE}), (YHAT, {"strange": _means({CONTROL: [1]}, ["Z"])})],
)
def test_nothing_to_compare_gives_empty_tables(yhat, references):
    lines, points = _given(Y, yhat, references)
    assert lines.empty
    assert points.empty
    assert list(lines.columns) == ["reference", "panel", "slope", "se", "n"]
    assert list(points.columns) == ["reference", "panel", "name", "x", "y"]


def test_line_through_too_few_points_is_undefined():
    # Two points have a slope and no error; points above each other have neither.
    assert fit_line(np.array([0.0, 2.0]), np.array([1.0, 5.0]))[0] == 2.0
    assert np.isnan(fit_line(np.array([0.0, 2.0]), np.array([1.0, 5.0]))[1])
    for n in (0, 1, 3):
        assert np.isnan(fit_line(np.full(n, 0.1), np.arange(n, dtype=float))[:2]).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 30))
def test_line_equals_scipy(seed, n):
    x, y = np.random.default_rng(seed).normal(size=(2, n))
    expected = linregress(x, y)
    assert fit_line(x, y) == pytest.approx((expected.slope, expected.stderr, n))
