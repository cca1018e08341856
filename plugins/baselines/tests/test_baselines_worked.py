"""Each baseline on numbers small enough to do by hand, through the hooks."""

import inspect

import numpy as np
import pandas as pd
import pertharness_baselines as plugin
import pytest
from anndata import AnnData
from pertharness import DataError, Skip
from pertharness.testing import call_fit, call_predict

GENES = ["A", "B", "g3"]


def _pseudobulk(rows, genes=GENES):
    obs = pd.DataFrame({"perturbation": list(rows)}, index=[f"row{i}" for i in range(len(rows))])
    obs["perturbation"] = obs["perturbation"].astype("category")
    return AnnData(X=np.array(list(rows.values()), dtype=float), obs=obs, var=pd.DataFrame(index=genes))


TRAIN = _pseudobulk({"A": [2, 1, 0], "control": [1, 1, 1], "B": [1, 3, 2], "A+C": [3, 3, 3]})


def _answer(name, queries, train=TRAIN, embeddings=None, **params):
    model = call_fit(plugin, train, name=name, embeddings=embeddings, params=params)
    prediction = call_predict(plugin, model, train[train.obs["perturbation"] == "control"], queries, name=name)
    assert list(prediction.var_names) == list(train.var_names)
    assert prediction.X.dtype == np.float64
    means = {label: prediction.X[row].tolist() for row, label in enumerate(prediction.obs["perturbation"])}
    return means, prediction.uns["unanswered"]


def test_no_change_predicts_the_control_mean():
    assert _answer("no_change", ["X", "A+B"]) == ({"X": [1, 1, 1], "A+B": [1, 1, 1]}, {})


def test_additive_adds_the_two_single_effects():
    # y_A + y_B - y0 = (2 + 1 - 1, 1 + 3 - 1, 0 + 2 - 1)
    assert _answer("additive", ["A+B"]) == ({"A+B": [2, 3, 1]}, {})


def test_additive_adds_three_single_effects():
    train = _pseudobulk({"control": [1, 1, 1], "A": [2, 1, 1], "B": [1, 3, 1], "C": [1, 1, 0]})
    # y0 + (1, 0, 0) + (0, 2, 0) + (0, 0, -1)
    assert _answer("additive", ["A+B+C"], train)[0] == {"A+B+C": [2, 3, 0]}


def test_additive_names_the_missing_single_and_answers_the_rest():
    means, unanswered = _answer("additive", ["A+B", "A+C", "C+D", "C"])
    assert list(means) == ["A+B"]
    assert unanswered == {
        "A+C": "not among the training singles: C",
        "C+D": "not among the training singles: C, D",
        "C": "an unseen single has no additive expectation",
    }


def test_mean_leaves_the_control_out_unless_told():
    # (2 + 1 + 3, 1 + 3 + 3, 0 + 2 + 3) / 3; with the control (7, 8, 6) / 4
    assert _answer("mean", ["X"])[0]["X"] == pytest.approx([2, 7 / 3, 5 / 3])
    assert _answer("mean", ["X"], ctrl_included=True)[0]["X"] == pytest.approx([7 / 4, 2, 6 / 4])


def test_mean_of_no_perturbation_is_refused():
    with pytest.raises(DataError, match="no perturbation but 'control'"):
        _answer("mean", ["X"], _pseudobulk({"control": [1, 1, 1]}))


def test_linear_does_the_arithmetic_of_the_equations():
    # Genes A, B; training A = (3, 1), control = (0, 0). Centred over genes: A = (1, -1), control = (0, 0), so the one
    # principal component has G = +-(1, -1). P: A -> G_A = 1, control -> 0. b + y0 = (1.5, 0.5), mean of A and control.
    # Y - b: A (1.5, 0.5), control (-1.5, -0.5). With ridge 1: W = (2 + 1)^-1 (1 * 1.5 - 1 * 0.5) (1 + 1)^-1 = 1 / 6.
    # Query B has P = -1: prediction G W P + b + y0 = (1, -1) * -1 / 6 + (1.5, 0.5) = (4/3, 2/3).
    train = _pseudobulk({"A": [3, 1], "control": [0, 0]}, ["A", "B"])
    means, unanswered = _answer("linear", ["B"], train, k=1, ridge=1.0)
    assert means["B"] == pytest.approx([4 / 3, 2 / 3])
    assert unanswered == {}


def test_linear_leaves_doubles_and_unread_targets_unanswered():
    means, unanswered = _answer("linear", ["A+B", "g3", "X"])
    assert list(means) == ["g3"]
    assert unanswered == {
        "A+B": "the linear model answers single perturbations only",
        "X": "the target X is not among the genes, so it has no embedding",
    }


def test_linear_uses_as_many_components_as_exist():
    assert _answer("linear", ["g3"], k=10)[0]["g3"] == pytest.approx(_answer("linear", ["g3"], k=3)[0]["g3"])


def test_linear_has_nothing_to_learn_from_unread_targets():
    with pytest.raises(Skip, match="no training perturbation has an embedding; 'X' is not among"):
        _answer("linear", ["A"], _pseudobulk({"control": [1, 1, 1], "X": [2, 1, 1], "A+B": [2, 2, 1]}))


@pytest.mark.parametrize("params", [{"k": 0}, {"ridge": 0.0}])
def test_linear_refuses_parameters_without_meaning(params):
    with pytest.raises(DataError, match="expected k of at least 1 and ridge above 0"):
        _answer("linear", ["A"], **params)


@pytest.mark.parametrize("name", ["no_change", "additive", "mean", "linear"])
def test_no_baseline_changes_its_training_data(name):
    before = TRAIN.X.copy()
    _answer(name, ["A+B", "g3"])
    assert np.array_equal(TRAIN.X, before)


def test_card_states_the_defaults_of_the_functions():
    for offer in plugin.describe().models:
        signature = inspect.signature(plugin._FIT[offer.name])
        defaults = {p.name: p.default for p in signature.parameters.values() if p.default is not p.empty}
        assert offer.params == defaults
        assert offer.name in plugin._PREDICT


def test_cards_say_which_baselines_are_constant_and_which_copy():
    offers = {offer.name: offer for offer in plugin.describe().models}
    assert {name for name, offer in offers.items() if offer.constant} == {"no_change", "mean"}
    assert {name for name, offer in offers.items() if offer.copies_training} == {"no_change"}
    training = TRAIN.X.tolist()
    for name in ("no_change", "mean"):
        means, _ = _answer(name, ["X", "A+B"])
        assert means["X"] == means["A+B"]
        assert (means["X"] in training) == offers[name].copies_training
