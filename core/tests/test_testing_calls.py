"""Hooks called from the tests of a plugin: with defaults, and with what the hook takes."""

import inspect
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pertharness import Card, EmbeddingOffer, MetricOffer, ModelOffer, ScorerOffer, hookimpl, make_prediction
from pertharness.contract import hookspecs
from pertharness.contract.scores import COLUMNS
from pertharness.testing import call_embed, call_fit, call_predict, call_score, planted_means
from pertharness.testing.planted import DOUBLES, GENES, SINGLES

CALLS = {"fit": call_fit, "predict": call_predict, "embed": call_embed, "score": call_score}
USUAL = {"summary": "s", "tasks": ("double",), "input": "pseudobulk", "information": "training"}


def plugin(*functions, **card):
    """Return a plugin of these functions."""

    @hookimpl
    def describe():
        return Card(**card)

    return types.SimpleNamespace(describe=describe, **{function.__name__: hookimpl(function) for function in functions})


def model(**fields):
    return {"models": (ModelOffer(name="m", **{**USUAL, **fields}),)}


@pytest.mark.parametrize("hook", CALLS)
def test_every_argument_of_a_hook_can_be_given(hook):
    """A new argument of a hook is one here too, with a default."""
    known = inspect.signature(CALLS[hook]).parameters
    assert set(inspect.signature(getattr(hookspecs, hook)).parameters) <= set(known)
    needed = {name for name, parameter in known.items() if parameter.default is inspect.Parameter.empty}
    assert needed == {"plugin", *{"predict": ["model"], "score": ["truth", "prediction"]}.get(hook, [])}


def test_a_hook_gets_what_it_takes_and_the_defaults_are_a_planted_task():
    def fit(train, val, embeddings, params, task, files, workdir):
        (workdir / "kept.txt").write_text("x")
        assert (val, task.name, sorted(embeddings), files) == (None, "double", ["G", "P"], {})
        return params, workdir, len(train)

    def predict(model, controls, queries):
        return make_prediction(dict.fromkeys(queries, controls.X[0]), controls.var_names)

    both = plugin(fit, predict, **model(params={"k": 1, "j": 2}, slots={"G": "gene", "P": "perturbation"}))
    params, workdir, n_rows = fitted = call_fit(both, params={"k": 5})
    assert params == {"k": 5, "j": 2}
    assert (workdir / "kept.txt").exists()
    assert n_rows == 1 + len(SINGLES) + 3
    answer = call_predict(both, fitted)
    assert list(answer.obs["perturbation"]) == list(DOUBLES[4:])
    assert call_predict(both, fitted, queries=["KLF1"]).shape == (1, len(GENES))


def test_a_model_that_declares_an_oracle_gets_that_of_the_planted_cells_and_no_other_gets_one():
    def predict(model, controls, queries, oracle):
        model.append(oracle)
        return make_prediction(dict.fromkeys(queries, controls.X[0]), controls.var_names)

    seen = []
    for card in ({}, {"information": "oracle", "oracle": "target_expression"}):
        call_predict(plugin(predict, **model(**card)), seen)
    assert seen[0] is None
    assert set(seen[1].obs["perturbation"]) == set(DOUBLES[4:])
    assert set(seen[1].var_names) == {target for label in DOUBLES[4:] for target in label.split("+")}


def test_what_is_given_is_handed_over_as_it_is(tmp_path):
    def fit(train, val, references, files, seed, device, workdir):
        return train, val, references, files, seed, device, workdir

    train, files = planted_means(), {"w": Path("w")}
    got = call_fit(
        plugin(fit, **model()), train, files=files, seed=4, device="cuda", workdir=tmp_path, references={"r": train}
    )
    assert got[0] is train
    assert got[1:] == (None, {"r": train}, files, 4, "cuda", tmp_path)


def test_validation_data_are_there_for_a_model_that_uses_them():
    def fit(val):
        return val

    assert call_fit(plugin(fit, **model(uses_validation=True))).obs["perturbation"].tolist() == [DOUBLES[3]]


def test_an_embedding_is_asked_for_the_genes_or_the_single_perturbations():
    def embed(labels, params):
        return pd.DataFrame({"x": params["k"]}, index=labels)

    offer = EmbeddingOffer(name="e", summary="s", kinds=("gene", "perturbation"), params={"k": 3})
    both = plugin(embed, embeddings=(offer,))
    assert list(call_embed(both).index) == list(GENES)
    assert sorted(call_embed(both, kind="perturbation").index) == sorted(["control", *SINGLES])
    assert call_embed(both, labels=["KLF1"], params={"k": 4})["x"].tolist() == [4]


def score(truth, prediction, controls):
    value = float(np.abs(prediction.X - truth.X + 0 * controls.X).mean())
    return pd.DataFrame([("A", "", "mae", "default", "", value)], columns=list(COLUMNS))


SCORER = ScorerOffer(name="s", summary="s", metrics=(MetricOffer(id="mae", direction="lower", best=0.0),))


def test_a_scorer_gets_what_it_takes_and_has_to_be_given_data():
    truth, prediction = (make_prediction({"A": np.array([value, 2.0])}, ["g", "h"]) for value in (1.0, 1.5))
    scorer = plugin(score, scorers=(SCORER,))
    assert call_score(scorer, truth, prediction, controls=truth)["value"].tolist() == [0.25]
    with pytest.raises(ValueError, match="the hook score takes 'controls'; give it"):
        call_score(scorer, truth, prediction)


def test_an_offer_that_is_not_there_or_not_named_is_said():
    def fit(name):
        return name

    two = plugin(fit, models=tuple(ModelOffer(name=name, **USUAL) for name in "ab"))
    assert call_fit(two, name="b") == "b"
    with pytest.raises(ValueError, match="name one of the models of the card: a, b"):
        call_fit(two)
    with pytest.raises(ValueError, match="'c' is not among the models of the card: a, b"):
        call_fit(two, name="c")
    with pytest.raises(ValueError, match="has no hook 'predict'"):
        call_predict(two, None, name="a")
