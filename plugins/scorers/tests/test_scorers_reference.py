"""The scorers beside the output of the authors' R code. Siblings on small data: test_scorers_worked, test_panel."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from pertharness import CONTROL, join_targets
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


def _scores(name, inputs, n_top, seed, method):
    """The hook's values of one model on the held-out perturbations of one split."""
    everything = _means(inputs["X"], inputs["conditions"], inputs["genes"])
    held = inputs[f"held_{seed}"]
    controls = everything[everything.obs["perturbation"] == CONTROL]
    yhat = inputs.get(f"pred_{seed}_{method}", np.repeat(controls.X, len(held), axis=0))
    table = score_perturbations(
        name=name,
        truth=everything[list(held)],
        prediction=_means(yhat, held, inputs["genes"]),
        controls=controls,
        params={"n_top": n_top},
    )
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
