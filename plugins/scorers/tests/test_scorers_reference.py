"""The scorers beside the output of the authors' R code. Siblings on small data: test_scorers_worked, test_panel,
test_by_rank, test_gene_sd.
"""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from pertharness import CONTROL, join_targets
from pertharness_scorers.answers import match_answers
from pertharness_scorers.by_rank import change_order, curves_of, pool_curves, sampled_ranks, score_by_rank
from pertharness_scorers.gene_sd import score_gene_sd
from pertharness_scorers.of_perturbations import score_perturbations
from pertharness_scorers.panel import expression_rank, top_genes

REFERENCE = Path(os.environ.get("PERTHARNESS_SHARED", Path(__file__).parents[4] / "shared")) / "reference"
COLUMN = {"l2": "l2", "pearson": "r2", "pearson_delta": "r2_delta"}
pytestmark = pytest.mark.reference


@pytest.fixture(scope="module")
def reference():
    if not (REFERENCE / "pipeline_refs.npz").exists():
        pytest.skip(f"no pipeline_refs.npz in {REFERENCE}; name the folder above it in PERTHARNESS_SHARED")
    with np.load(REFERENCE / "pipeline_inputs.npz") as inputs, np.load(REFERENCE / "pipeline_refs.npz") as refs:
        arrays = dict(inputs), dict(refs)
    return *arrays, json.loads((REFERENCE / "pipeline_inputs.json").read_text())["n_top"]


def _canonical(condition):
    return join_targets(part for part in condition.split("+") if part != "ctrl")


def _means(x, conditions, genes):
    obs = pd.DataFrame({"perturbation": [_canonical(c) for c in conditions]}, index=list(conditions))
    return AnnData(X=np.asarray(x, dtype=float), obs=obs, var=pd.DataFrame(index=genes))


def _split(inputs, seed, method):
    """Truth, prediction, controls and train of one model on the held-out perturbations of one split."""
    everything = _means(inputs["X"], inputs["conditions"], inputs["genes"])
    held = inputs[f"held_{seed}"]
    controls = everything[everything.obs["perturbation"] == CONTROL]
    yhat = inputs.get(f"pred_{seed}_{method}", np.repeat(controls.X, len(held), axis=0))
    return everything[list(held)], _means(yhat, held, inputs["genes"]), controls, everything


def _seeds(inputs):
    return sorted(int(key.removeprefix("held_")) for key in inputs if key.startswith("held_"))


def _scores(name, inputs, n_top, seed, method):
    """The hook's values of one model on the held-out perturbations of one split."""
    table = score_perturbations(name, *_split(inputs, seed, method), {"n_top": n_top})
    table = table.table if name == "l2" else table
    table = table[table["variant"] == "default"]
    return dict(zip(table["perturbation"], table["value"], strict=True))


def test_panel_equals_r_ties_included(reference):
    inputs, refs, n_top = reference
    y0 = inputs["X"][list(inputs["conditions"]).index("ctrl")]
    assert expression_rank(y0).tolist() == refs["expr_rank"].tolist()
    assert inputs["genes"][top_genes(y0, n_top)].tolist() == refs["top_genes"].tolist()


@pytest.mark.parametrize("name", COLUMN)
def test_scores_equal_r(reference, name):
    inputs, refs, n_top = reference
    seeds, methods = refs["metrics.seed"], refs["metrics.method"]
    compared = 0
    for seed, method in sorted(set(zip(seeds.tolist(), methods.tolist(), strict=True))):
        rows = (seeds == seed) & (methods == method)
        scores = _scores(name, inputs, n_top, seed, method)
        ours = [scores[_canonical(condition)] for condition in refs["metrics.perturbation"][rows]]
        np.testing.assert_allclose(ours, refs[f"metrics.{COLUMN[name]}"][rows], rtol=0, atol=1e-9)
        compared += len(ours)
    assert compared == len(seeds) > 0


def test_what_r_scored_are_the_test_and_validation_parts_of_each_split(reference):
    inputs, refs, _ = reference
    splits = json.loads((REFERENCE / "pipeline_inputs.json").read_text())["splits"]
    assert set(refs["metrics.train"].tolist()) == {"test", "val"}
    assert {int(seed) for seed in splits} == set(refs["metrics.seed"].tolist()) == set(_seeds(inputs))
    for seed, parts in splits.items():
        for method in set(refs["metrics.method"].tolist()):
            rows = (refs["metrics.seed"] == int(seed)) & (refs["metrics.method"] == method)
            scored = _scores("l2", inputs, len(inputs["genes"]), int(seed), method)
            assert len(scored) == rows.sum()
            for part in ("test", "val"):
                names = refs["metrics.perturbation"][rows & (refs["metrics.train"] == part)]
                assert sorted(names.tolist()) == sorted(parts[part])
                assert scored.keys() >= {_canonical(name) for name in names}


def test_order_by_change_equals_r_ties_included(reference):
    inputs, refs, _ = reference
    y0 = inputs["X"][list(inputs["conditions"]).index("ctrl")]
    ranks = np.argsort(change_order(inputs["X"] - y0), axis=1) + 1
    assert np.array_equal(ranks.T, refs["de_rank"])


STRAT = {"expression": "expr", "differential-expression": "de"}


@pytest.mark.parametrize("order", STRAT)
def test_curves_over_genes_equal_r(reference, order):
    inputs, refs, _ = reference
    methods = ["additive_model", *refs["models"]]
    assert sampled_ranks(len(inputs["genes"])).tolist() == refs[f"strat_{STRAT[order]}_ranks"].tolist()
    for seed in _seeds(inputs):
        for method, expected in zip(methods, refs[f"strat_{STRAT[order]}_{seed}"], strict=True):
            curves = curves_of(match_answers(*_split(inputs, seed, method)))[order]
            np.testing.assert_allclose(curves, expected, rtol=0, atol=1e-9)


def test_curves_pooled_over_splits_equal_r(reference):
    inputs, refs, _ = reference
    compared = 0
    for method in ["additive_model", *refs["models"]]:
        splits = [score_by_rank(*_split(inputs, seed, method)).artefacts["l2_by_rank"] for seed in _seeds(inputs)]
        pooled = pool_curves(splits).set_index(["variant", "n"])
        for order, name in STRAT.items():
            rows = (refs["strat_merged.method"] == method) & (refs["strat_merged.sorted_by"] == name)
            ours = pooled.loc[order].loc[refs["strat_merged.rank"][rows]]
            for column, theirs in (("mean", "dist_mean"), ("published_se", "dist_se")):
                np.testing.assert_allclose(ours[column], refs[f"strat_merged.{theirs}"][rows], rtol=0, atol=1e-9)
            compared += rows.sum()
    assert compared == len(refs["strat_merged.rank"]) > 0


def test_sd_of_genes_equals_r(reference):
    inputs, refs, n_top = reference
    methods, compared = refs["gene_sd.method"], 0
    for seed in _seeds(inputs):
        for method in sorted(set(methods.tolist())):
            of = "truth" if method == "ground_truth" else "prediction"
            model = "additive_model" if method == "ground_truth" else method
            table = score_gene_sd(*_split(inputs, seed, model), {"n_top": n_top}).artefacts["gene_sd"]
            ours = table[table["of"] == of].set_index("gene")["sd"]
            rows = (methods == method) & (refs["gene_sd.seed"] == seed)
            expected = refs["gene_sd.sd"][rows]
            np.testing.assert_allclose(ours.loc[refs["gene_sd.gene_name"][rows]], expected, rtol=0, atol=1e-9)
            compared += rows.sum()
    assert compared == len(methods) > 0
