"""The published package itself: the reference runs, and its guards. Only in the environment of the plugin."""

import importlib.util
import os
import re
from pathlib import Path

import numpy as np
import pytest
from anndata import read_h5ad
from pertharness import DataError, Skip, read_settings
from pertharness.testing import conformance, pose
from pertharness_cpa import OFFER, fit, predict
from pertharness_cpa.layout import lay_out, read_screen
from pertharness_cpa.predicting import mean_expression, predict_counts
from pertharness_cpa.settings import OwnSettings, Settings
from pertharness_cpa.training import train_cpa, upstream_class

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("cpa") is None, reason="cpa-tools is not installed: it has an environment of its own"
    ),
    pytest.mark.filterwarnings("ignore"),  # upstream's packages of 2023 warn of one another all the time
]
REFERENCE = Path(os.environ.get("PERTHARNESS_SHARED", Path(__file__).parents[4] / "shared")) / "fixtures/cpa"
FEW = {"max_epochs": 10, "batch_size": 64}

test_conformance = conformance("pertharness_cpa")


@pytest.fixture(autouse=True)
def _one_thread():
    """Compute as a worker does: the reference runs are bit-equal with one thread only."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _answer(task, folder, queries=None, seed=1, **params):
    common = {"device": "cpu", "seed": seed, "workdir": folder}
    model = fit(train=task.train, task=task.task, params=OFFER.params | FEW | params, **common)
    answer = predict(model=model, controls=task.controls, queries=queries or task.queries, **common)
    return dict(zip(answer.obs["perturbation"], answer.X, strict=True))


def _seed_of_reference(expected, n_controls):
    """The seed of the reference run: that of those in its README which draws its controls."""
    readme = (REFERENCE / "README.md").read_text(encoding="utf-8")
    drawn = expected["control_rows"]
    for seed in map(int, re.findall(r"(?:public|heldout) (\d+)", readme)):
        if np.array_equal(np.random.RandomState(seed).choice(n_controls, len(drawn)), drawn):
            return seed
    raise AssertionError("no seed of the README draws the controls of the reference run")


@pytest.mark.reference
def test_training_and_counterfactuals_equal_the_reference_run(tmp_path):
    if not REFERENCE.is_dir():
        pytest.skip(f"there is no folder {REFERENCE}")
    expected, adata = np.load(REFERENCE / "expected.npz"), read_h5ad(REFERENCE / "input.h5ad")
    adata.obs = adata.obs.astype(str)
    conditions, counts = adata.obs["condition"].to_numpy(), adata.X.copy()
    controls = np.flatnonzero(conditions == "ctrl")
    run = read_settings(Settings, {"max_epochs": int(expected["epochs_run"]), "batch_size": 128}, what="cpa")
    seed = _seed_of_reference(expected, len(controls))
    trained = train_cpa(adata, run, seed=seed, device="cpu", folder=tmp_path)
    assert list(trained.encoder) == expected["pert_encoder"].tolist()
    assert adata.var["gene_name"].tolist() == expected["genes"].tolist()
    for row, condition in enumerate(expected["conditions"]):
        cells = np.flatnonzero(conditions == condition)
        start = counts[controls[expected["control_rows"][cells]]]
        predicted = predict_counts(trained, adata[cells], start, [condition.split("+")] * len(cells))
        totals = np.full(len(cells), 1e4)
        np.testing.assert_allclose(np.log1p(predicted.mean(axis=0)), np.log1p(expected["mean_count"][row]), atol=1e-4)
        for scale, name in (("cp10k", "log1p_cp10k"), ("upstream", "log1p_raw")):
            found = mean_expression(predicted, totals, scale)
            np.testing.assert_allclose(found, expected[name][row], rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def double():
    return pose("double", "cells")


def test_a_predicted_cell_has_the_total_of_its_control(double, tmp_path):
    model = fit(
        train=double.train, task=double.task, params=OFFER.params | FEW | {"procedure": "corrected"}, device="cpu",
        seed=1, workdir=tmp_path,
    )  # fmt: skip
    rows = model.screen.controls()
    counts = model.screen.counts[rows]
    predicted = predict_counts(model.trained, model.trained.cpa.adata[rows], counts, [["KLF1", "GATA1"]] * len(rows))
    np.testing.assert_allclose(predicted.sum(axis=1), np.asarray(counts.sum(axis=1)).ravel(), rtol=1e-4)
    swapped = predict_counts(model.trained, model.trained.cpa.adata[rows], counts, [["GATA1", "KLF1"]] * len(rows))
    np.testing.assert_array_equal(swapped, predicted)


def test_corrected_is_trained_without_the_names_of_the_queries(double, tmp_path):
    both = _answer(double, tmp_path, procedure="corrected")
    alone = _answer(double, tmp_path, queries=double.queries[:1], procedure="corrected")
    np.testing.assert_array_equal(alone[double.queries[0]], both[double.queries[0]])


def test_a_second_data_set_in_one_process_does_not_get_the_genes_of_the_first(double, tmp_path):
    before = _answer(double, tmp_path)
    other = pose("double", "cells")
    other.train.obs["perturbation"] = [
        "+".join(f"X{gene}" for gene in label.split("+")) if label != "control" else label
        for label in other.train.obs["perturbation"]
    ]
    renamed = _answer(other, tmp_path, queries=["+".join(f"X{g}" for g in q.split("+")) for q in double.queries])
    # Other names in the same order: the same numbers.
    for query in double.queries:
        np.testing.assert_allclose(renamed["+".join(f"X{g}" for g in query.split("+"))], before[query], atol=1e-6)


def test_both_scales_and_drawn_controls_are_to_be_had(double, tmp_path):
    scaled = _answer(double, tmp_path)
    raw = _answer(double, tmp_path, output_scale="upstream")
    drawn = _answer(double, tmp_path, control_cells=30)
    query = double.queries[0]
    totals = double.controls.layers["counts"].sum(axis=1)
    # A cell of n counts is spread over 10 000: log1p(10 000 / n x) where upstream has log1p(x).
    ratio = np.expm1(scaled[query]).sum() / np.expm1(raw[query]).sum()
    assert ratio == pytest.approx(1e4 / np.mean(totals), rel=0.05)
    assert 0 < np.abs(drawn[query] - scaled[query]).max() < 0.5


def test_weights_that_were_never_validated_are_refused(double, tmp_path):
    screen = read_screen(double.train, OwnSettings())
    adata = lay_out(screen, np.zeros(len(screen.conditions), dtype=bool))
    with pytest.raises(DataError, match="random weights that training began with"):
        train_cpa(adata, read_settings(Settings, FEW, what="cpa"), seed=1, device="cpu", folder=tmp_path)


def test_nothing_of_an_earlier_data_set_is_left_in_the_class():
    upstream = upstream_class()
    upstream.pert_encoder = {"<PAD>": 0, "ctrl": 1}
    assert upstream_class().pert_encoder is None


def test_a_gpu_that_is_not_there_is_a_skip(double, tmp_path):
    with pytest.raises(Skip, match=r"'cuda:99'; torch 2.* sees no such GPU"):
        fit(
            train=double.train, task=double.task, params=OFFER.params | {"procedure": "corrected"}, device="cuda:99",
            seed=1, workdir=tmp_path,
        )  # fmt: skip
