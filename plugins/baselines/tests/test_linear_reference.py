"""The linear baseline beside R's output, beside an independent solution, and its invariances."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pertharness_baselines as plugin
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness import CONTROL, control_mean
from pertharness.testing import call_fit, call_predict

REFERENCE = Path(os.environ.get("PERTHARNESS_SHARED", Path(__file__).parents[4] / "shared")) / "reference"


def _pseudobulk(x, labels, genes):
    obs = pd.DataFrame({"perturbation": pd.Categorical(labels)}, index=[str(i) for i in range(len(labels))])
    return AnnData(X=x, obs=obs, var=pd.DataFrame(index=genes))


def _predict(name, train, queries, **params):
    model = call_fit(plugin, train, name=name, params=params)
    return call_predict(plugin, model, train[train.obs["perturbation"] == CONTROL], queries, name=name)


def _random_screen(seed, n_genes=30, n_singles=12):
    """A screen with read-out targets, one target without a column, one double, the control in the middle."""
    rng = np.random.default_rng(seed)
    genes = [f"g{i:02d}" for i in range(n_genes)]
    labels = [*genes[: n_singles // 2], CONTROL, *genes[n_singles // 2 : n_singles], "X", "g00+g01"]
    x = rng.gamma(1.0, 1.0, n_genes) + rng.normal(0, 0.3, (len(labels), n_genes))
    return _pseudobulk(x, labels, genes), genes[n_singles : n_singles + 5]


def _linear_by_kronecker(train, query, k, ridge):
    """Solve for vec(W) in one system: (P'P + r I) x (G'G + r I) vec(W) = vec(G' Y P), components by eigenvectors."""
    genes, labels = list(train.var_names), list(train.obs["perturbation"])
    centred = train.X.T - train.X.T.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    G = centred @ vectors[:, np.argsort(values)[::-1][:k]]
    columns = [i for i, label in enumerate(labels) if label in genes or label == CONTROL]
    P = np.array([np.zeros(k) if labels[i] == CONTROL else G[genes.index(labels[i])] for i in columns])
    y0 = control_mean(train)
    change = np.array([train.X[i] - y0 for i in columns]).T
    b = change.mean(axis=1)
    system = np.kron(P.T @ P + ridge * np.eye(k), G.T @ G + ridge * np.eye(k))
    right = (G.T @ (change - b[:, None]) @ P).flatten(order="F")
    W = np.linalg.lstsq(system, right, rcond=None)[0].reshape((k, k), order="F")
    return G @ W @ G[genes.index(query)] + b + y0


@pytest.mark.parametrize(("k", "ridge"), [(10, 0.1), (4, 1.0), (1, 0.5)])
def test_linear_equals_one_kronecker_system(k, ridge):
    train, queries = _random_screen(7)
    prediction = _predict("linear", train, queries, k=k, ridge=ridge)
    expected = [_linear_by_kronecker(train, query, k, ridge) for query in queries]
    np.testing.assert_allclose(prediction.X, expected, rtol=0, atol=1e-9)


@pytest.fixture(scope="module")
def reference():
    if not (REFERENCE / "linear_refs.npz").exists():
        pytest.skip(f"no linear_refs.npz in {REFERENCE}; name the folder above it in PERTHARNESS_SHARED")
    with np.load(REFERENCE / "linear_inputs.npz") as inputs, np.load(REFERENCE / "linear_refs.npz") as refs:
        arrays = dict(inputs), dict(refs)
    return arrays


def _canonical(condition):
    targets = sorted(part for part in condition.split("+") if part != "ctrl")
    return "+".join(targets) if targets else CONTROL


def _reference_train(inputs):
    labels = np.array([_canonical(condition) for condition in inputs["conditions"]])
    training = (inputs["training"] == "train") | (labels == CONTROL)
    return _pseudobulk(inputs["X"][training], labels[training], inputs["genes"]), labels


@pytest.mark.reference
def test_mean_with_control_equals_rs_linear_model_of_zeros(reference):
    inputs, refs = reference
    if "G_train__P_zero.pred" not in refs:
        pytest.skip("linear_refs.npz has no run with a perturbation embedding of zeros")
    train, _ = _reference_train(inputs)
    prediction = _predict("mean", train, ["any"], ctrl_included=True)[:, refs["G_train__P_zero.pred_genes"]]
    np.testing.assert_allclose(prediction.X[0], refs["G_train__P_zero.pred"][:, 0], rtol=0, atol=1e-9)


fast = settings(max_examples=20, deadline=None)
seeds = st.integers(0, 10_000)


@fast
@given(seeds)
def test_linear_does_not_depend_on_the_order_of_genes(seed):
    train, queries = _random_screen(seed)
    order = np.random.default_rng(seed + 1).permutation(train.n_vars)
    there = _predict("linear", train, queries).X[:, order]
    np.testing.assert_allclose(_predict("linear", train[:, order].copy(), queries).X, there, rtol=0, atol=1e-9)


@fast
@given(seeds, st.sampled_from(["mean", "linear", "no_change", "additive"]))
def test_baselines_do_not_depend_on_the_order_of_rows(seed, name):
    train, queries = _random_screen(seed)
    order = np.random.default_rng(seed + 1).permutation(train.n_obs)
    queries = [*queries, "g02+g03"]
    there, here = _predict(name, train, queries), _predict(name, train[order].copy(), queries)
    assert list(there.obs["perturbation"]) == list(here.obs["perturbation"])
    np.testing.assert_allclose(here.X, there.X, rtol=0, atol=1e-9)


@fast
@given(seeds)
def test_additive_is_no_change_when_the_singles_do_nothing(seed):
    train, _ = _random_screen(seed)
    flat = _pseudobulk(np.tile(control_mean(train), (train.n_obs, 1)), train.obs["perturbation"], train.var_names)
    additive, no_change = (_predict(name, flat, ["g00+g05", "g01+g02"]).X for name in ("additive", "no_change"))
    np.testing.assert_allclose(additive, no_change, rtol=0, atol=1e-12)
