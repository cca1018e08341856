"""How much predictions vary between perturbations."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness import CONTROL
from pertharness_scorers.gene_sd import score_gene_sd

GENES = ["A", "B", "C"]


def _means(rows, genes=GENES):
    obs = pd.DataFrame({"perturbation": list(rows)}, index=[f"row{i}" for i in range(len(rows))])
    x = np.array(list(rows.values()), dtype=float).reshape(len(rows), len(genes))
    return AnnData(X=x, obs=obs, var=pd.DataFrame(index=list(genes)))


def _sd(y, yhat, y0=(3, 2, 1), n_top=1000):
    controls, train = _means({CONTROL: y0}), _means({CONTROL: y0, "T": [0, 0, 0]})
    given = score_gene_sd(_means(y), _means(yhat), controls, train, {"n_top": n_top})
    assert given.table.empty
    table = given.artefacts["gene_sd"]
    assert list(table.columns) == ["gene", "of", "sd"]
    return {of: dict(zip(part["gene"], part["sd"], strict=True)) for of, part in table.groupby("of")}


def test_sd_is_over_perturbations_with_n_minus_1_on_the_panel():
    # Predictions of A: 1, 3 -> sqrt(2); of B: no spread. Observations of A: 0, 2, of B: 5, 1. C is off the panel.
    sd = _sd({"X": [0, 5, 7], "Y": [2, 1, 0]}, {"Y": [3, 4, 0], "X": [1, 4, 9]}, n_top=2)
    assert sd["prediction"] == pytest.approx({"A": 2**0.5, "B": 0.0})
    assert sd["truth"] == pytest.approx({"A": 2**0.5, "B": 8**0.5})


def test_only_complete_answers_count_for_both_sides():
    y = {"X": [0, 0, 0], "Y": [2, 2, 2], "Z": [9, 9, 9], "W": [5, 5, 5]}
    sd = _sd(y, {"X": [1, 1, 1], "Y": [1, 1, 3], "Z": [np.nan, 1, 1]})
    assert sd["prediction"] == pytest.approx({"A": 0, "B": 0, "C": 2**0.5})
    assert sd["truth"] == pytest.approx(dict.fromkeys(GENES, 2**0.5))


def test_missing_gene_has_no_sd_of_predictions_but_one_of_the_truth():
    sd = _sd({"X": [0, 0, 0], "Y": [2, 2, 2]}, {"X": [1, np.nan, 1], "Y": [2, np.nan, 2]})
    assert np.isnan(sd["prediction"]["B"])
    assert sd["truth"]["B"] == pytest.approx(2**0.5)


@pytest.mark.parametrize("yhat", [{}, {"X": [1, 2, 3]}])
def test_fewer_than_two_perturbations_have_no_sd(yhat):
    sd = _sd({"X": [0, 0, 0]}, yhat)
    assert all(np.isnan(value) for part in sd.values() for value in part.values())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(-3, 3))
def test_sd_equals_a_loop_and_ignores_a_shift(seed, shift):
    y = dict(zip("WXYZ", np.random.default_rng(seed).normal(size=(4, 3)), strict=True))
    sd = _sd(y, {label: row + shift for label, row in y.items()})
    by_hand = {gene: pd.Series([row[i] for row in y.values()]).std() for i, gene in enumerate(GENES)}
    assert sd["prediction"] == pytest.approx(by_hand)
    assert sd["truth"] == pytest.approx(by_hand)
