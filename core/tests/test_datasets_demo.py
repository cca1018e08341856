"""The demo: the same every time, and something in it for each baseline."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from pertharness.contract.errors import DataError
from pertharness.data.canonical import check_dataset, describe_perturbations, pseudobulk
from pertharness.datasets import load_dataset, make_side_file
from pertharness.datasets.demo import DEMO, demo_gene2go, demo_truth

SMALL = {"n_genes": 120, "n_singles": 8, "n_doubles": 6, "n_controls": 20, "n_cells": 8}


@cache
def demo() -> anndata.AnnData:
    return load_dataset("demo", None, {})


def test_the_demo_is_a_screen_of_singles_doubles_and_controls() -> None:
    adata = demo()
    check_dataset(adata, "demo")
    labels = adata.obs["perturbation"].value_counts()
    targets = {target for label in labels.index if label != "control" for target in label.split("+")}
    assert adata.n_vars == 1500
    assert sum("+" in label for label in labels.index) == 60
    assert sum("+" not in label for label in labels.index) == 61
    assert targets <= set(adata.var_names)
    assert set(labels.index) > targets  # each double has both singles
    assert labels["control"] == 300
    assert labels.drop("control").between(30, 50).all()
    assert adata.var["ensembl_id"].is_unique
    assert adata.uns["pertharness"]["modality"] == "crispra"


def test_the_values_are_log1p_of_the_counts_per_10_000() -> None:
    adata = demo()
    counts = adata.layers["counts"][:50].toarray().astype(np.float64)
    assert (counts == np.floor(counts)).all()
    np.testing.assert_array_equal(counts.sum(axis=1), adata.obs["total_counts"][:50])
    expected = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
    np.testing.assert_allclose(adata.X[:50].toarray(), expected, rtol=1e-6)


def test_the_same_seed_gives_the_same_screen_and_another_seed_another() -> None:
    first, again, other = (load_dataset("demo", None, {**SMALL, "seed": seed}) for seed in (3, 3, 4))
    assert (first.X != again.X).nnz == 0
    assert list(first.obs["perturbation"]) == list(again.obs["perturbation"])
    assert first.shape != other.shape or (first.X != other.X).nnz > 0


def test_a_replicate_has_other_cells_of_the_same_perturbations() -> None:
    first, other = (load_dataset("demo", None, {**SMALL, "replicate": number}) for number in (0, 1))
    assert first.shape != other.shape or (first.X != other.X).nnz > 0
    assert set(first.obs["perturbation"]) == set(other.obs["perturbation"])
    assert demo_truth({**SMALL, "replicate": 1}).expression.equals(demo_truth(SMALL).expression)


def test_the_truth_is_what_many_cells_tend_to() -> None:
    params = {**SMALL, "n_cells": 400, "n_controls": 400}
    adata, truth = load_dataset("demo", None, params), demo_truth(params)
    counts = pseudobulk_of_shares(adata)
    assert list(truth.expression.columns) == list(adata.var_names)
    for label in truth.expression.index:
        # 300 cells or more of 2 500 counts: a relative error of some per cent for the genes in the upper half.
        expected = np.expm1(truth.expression.loc[label].to_numpy()) / 1e4
        high = expected > np.median(expected)
        np.testing.assert_allclose(counts[label][high], expected[high], rtol=0.35)


def pseudobulk_of_shares(adata: anndata.AnnData) -> dict[str, np.ndarray]:
    """Return the share of each gene in all counts of a perturbation."""
    sums = {}
    for label in adata.obs["perturbation"].unique():
        rows = np.flatnonzero((adata.obs["perturbation"] == label).to_numpy())
        total = np.asarray(adata.layers["counts"][rows].sum(axis=0)).ravel()
        sums[label] = total / total.sum()
    return sums


def test_interactions_are_planted_in_few_genes_of_the_doubles() -> None:
    interactions = demo_truth().interactions
    shares = interactions.stack().value_counts(normalize=True)
    assert len(interactions) == 60
    assert set(shares.index) == {"additive", "buffering", "synergistic"}
    assert shares["additive"] > 0.95
    assert shares["buffering"] > shares["synergistic"] > 0


def test_without_interactions_the_log_rates_are_additive() -> None:
    truth = demo_truth(SMALL)
    change = np.log(np.expm1(truth.expression)) - np.log(np.expm1(truth.expression.loc["control"]))
    for double, kinds in truth.interactions.iterrows():
        first, second = str(double).split("+")
        deviation = change.loc[double] - change.loc[first] - change.loc[second]
        additive = deviation[kinds == "additive"]
        # The normalisation to 10 000 shifts all genes of a condition alike.
        np.testing.assert_allclose(additive, additive.iloc[0], atol=1e-9)


def test_targets_move_up_and_effects_exceed_the_noise() -> None:
    table = describe_perturbations(pseudobulk(demo()))
    singles = table[table["n_targets"] == 1]
    assert singles["on_target"].mean() > 0.9


def mean_l2(predictions: dict[str, np.ndarray], truth: dict[str, np.ndarray], panel: np.ndarray) -> float:
    return float(np.mean([np.linalg.norm((predictions[label] - truth[label])[panel]) for label in predictions]))


def test_additive_is_best_on_doubles_and_no_change_worst() -> None:
    means = pseudobulk(demo())
    truth = dict(zip(means.obs_names, np.asarray(means.X), strict=True))
    control = truth["control"]
    panel = np.argsort(-control)[:1000]
    doubles = [label for label in truth if "+" in label]
    train = [label for label in truth if label not in {*doubles[30:], "control"}]
    average = np.mean([truth[label] for label in train], axis=0)
    held_out = doubles[30:]
    additive = mean_l2({x: truth[x.split("+")[0]] + truth[x.split("+")[1]] - control for x in held_out}, truth, panel)
    mean = mean_l2(dict.fromkeys(held_out, average), truth, panel)
    no_change = mean_l2(dict.fromkeys(held_out, control), truth, panel)
    assert additive < 0.9 * mean
    assert mean < 0.9 * no_change


def test_on_unseen_singles_the_mean_beats_no_change_and_the_programme_beats_the_mean() -> None:
    means = pseudobulk(demo())
    truth = dict(zip(means.obs_names, np.asarray(means.X), strict=True))
    control = truth["control"]
    panel = np.argsort(-control)[:1000]
    singles = [label for label in truth if "+" not in label and label != "control"]
    programme = {gene: terms[0] for gene, terms in demo_gene2go().items()}
    held_out, train = singles[::4], [label for label in singles if label not in singles[::4]]
    average = np.mean([truth[label] for label in train], axis=0)
    of_programme = {}
    for label in held_out:
        alike = [truth[other] for other in train if programme[other] == programme[label]]
        of_programme[label] = np.mean(alike, axis=0) if alike else average
    mean = mean_l2(dict.fromkeys(held_out, average), truth, panel)
    assert mean < mean_l2(dict.fromkeys(held_out, control), truth, panel)
    assert mean_l2(of_programme, truth, panel) < mean


def test_gene2go_has_terms_for_each_gene_and_is_not_in_the_data() -> None:
    terms = demo_gene2go(SMALL)
    adata = load_dataset("demo", None, SMALL)
    assert list(terms) == list(adata.var_names)
    assert len({name for names in terms.values() for name in names if name.startswith("GO:DEMO")}) == 8
    assert list(adata.var.columns) == ["ensembl_id"]


def test_the_terms_are_a_side_file_of_the_same_parameters(tmp_path: Path) -> None:
    (file,) = DEMO.side_files
    for seed in (1, 7):
        make_side_file("demo", file.name, {**SMALL, "seed": seed}, tmp_path / file.name)
        table = pd.read_csv(tmp_path / file.name)
        terms = table.groupby("gene", sort=False)["term"].agg(list).to_dict()
        assert terms == demo_gene2go({**SMALL, "seed": seed})


def test_a_wrong_parameter_is_named() -> None:
    with pytest.raises(DataError, match=r"'demo': n_genes \(--n-genes\) is 3"):
        load_dataset("demo", None, {"n_genes": 3})
    with pytest.raises(DataError, match=r"no parameter 'cells'; it has seed"):
        load_dataset("demo", None, {"cells": 3})
