"""Halves of the cells: disjoint, whole, exact, the same for the same seed, and taken from a file of means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness import DataError, Skip
from pertharness.data import canonical
from pertharness.data.expression import layers_of
from pertharness.data.halves import against_half, halve, measured_twice, predict_duplicate, with_halves
from scipy import sparse

FIELDS = {"name": "x", "scale": canonical.SCALE, "origin": "made here"}


def make_cells(values: np.ndarray, labels: list[str], form: Any = np.asarray) -> AnnData:
    """Return a dataset of cells."""
    names = pd.Index([f"cell{i}" for i in range(len(labels))], dtype=object)
    obs = pd.DataFrame({"perturbation": pd.Categorical(labels), "label_given": pd.Categorical(labels)}, index=names)
    var = pd.DataFrame(index=[f"g{i}" for i in range(values.shape[1])])
    return AnnData(X=form(values), obs=obs, var=var, uns={canonical.KEY: {**FIELDS, "level": "cells"}})


def make_means(labels: list[str], n_cells: list[int] | None = None, **layers: Any) -> AnnData:
    """Return a dataset of means with layers."""
    obs = pd.DataFrame({"perturbation": labels, "label_given": labels}, index=labels)
    if n_cells is not None:
        obs["n_cells"] = n_cells
    arrays = {name: np.array(values, dtype=np.float32) for name, values in layers.items()}
    shape = next(iter(arrays.values())).shape if arrays else (len(labels), 2)
    uns = {canonical.KEY: {**FIELDS, "level": "pseudobulk"}}
    var = pd.DataFrame(index=[f"g{i}" for i in range(shape[1])])
    return AnnData(X=np.ones(shape), obs=obs, var=var, layers=arrays, uns=uns)


def test_halves_are_disjoint_and_together_all_cells() -> None:
    # Cell i has 2**i as its value, so a sum tells which cells are in it; scaled to stay below the ceiling.
    labels = ["control"] * 4 + ["A"] * 5 + ["B"]
    values = (2.0 ** np.arange(10) / 128)[:, None]
    halves = halve(make_cells(values, labels), np.random.default_rng(0))
    assert list(halves.obs_names) == ["control", "A", "B"]
    assert halves.obs["n_cells"].tolist() == [4, 5, 1]
    for row, (first, last, n_a, n_b) in enumerate([(0, 4, 2, 2), (4, 9, 2, 3)]):
        a, b = (round(float(halves.layers[name][row, 0] * n * 128)) for name, n in (("half_a", n_a), ("half_b", n_b)))
        assert (a & b, a | b) == (0, 2**last - 2**first)
        assert (a.bit_count(), b.bit_count()) == (n_a, n_b)
    assert all(np.isnan(halves.layers[name][2]).all() for name in ("half_a", "half_b", "variance"))


def test_variance_is_that_of_numpy_over_all_cells() -> None:
    rng = np.random.default_rng(1)
    labels = [str(label) for label in rng.choice(["control", "A", "B"], 300)]
    values = rng.uniform(0, 9, (300, 4)) * (rng.random((300, 4)) < 0.3)
    values[:, 3] = 9.1  # all the same: no variance, and no rounding below 0
    halves = halve(make_cells(values, labels), np.random.default_rng(0))
    for label, row in zip(halves.obs_names, halves.layers["variance"], strict=True):
        expected = values[np.array(labels) == label].var(axis=0, ddof=1)
        assert row == pytest.approx(expected, rel=1e-10, abs=1e-10)
        assert (row >= 0).all()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(["control", "A", "B"]), min_size=3, max_size=30), st.integers(0, 5))
def test_mean_of_all_cells_lies_between_its_halves(labels: list[str], seed: int) -> None:
    values = np.random.default_rng(seed).uniform(0, 9, (len(labels), 3))
    adata = make_cells(values, labels)
    halves, means = halve(adata, np.random.default_rng(seed)), canonical.pseudobulk(adata)
    n = halves.obs["n_cells"].to_numpy()[:, None]
    whole = (halves.layers["half_a"] * (n // 2) + halves.layers["half_b"] * (n - n // 2)) / n
    known = (n >= 2).ravel()
    np.testing.assert_allclose(whole[known], means.X[known], rtol=1e-12)


def test_sparse_dense_and_stored_cells_give_the_same_halves(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    values = (rng.uniform(0, 9, (50, 6)) * (rng.random((50, 6)) < 0.4)).astype(np.float32)
    labels = ["control", "A"] * 25
    dense, csr = make_cells(values, labels), make_cells(values, labels, sparse.csr_matrix)
    canonical.write(csr, tmp_path / "cells.h5ad")
    stored = canonical.open_stored(tmp_path / "cells.h5ad")
    first, *others = (halve(one, np.random.default_rng(7)) for one in (dense, csr, stored))
    for other in others:
        for name, layer in layers_of(first).items():
            np.testing.assert_allclose(other.layers[name], layer, rtol=1e-12)
    again = halve(dense, np.random.default_rng(8))
    assert not np.array_equal(again.layers["half_a"], first.layers["half_a"])


def test_halves_survive_a_file(tmp_path: Path) -> None:
    halves = halve(make_cells(np.ones((4, 2)), ["control", "A"] * 2), np.random.default_rng(0))
    canonical.write(halves, tmp_path / "halves.h5ad")
    back = canonical.read(tmp_path / "halves.h5ad")
    assert measured_twice(back) == {"control", "A"}
    assert {*layers_of(back)} == {"half_a", "half_b", "variance"}


def test_halves_of_means_are_those_of_the_file() -> None:
    nan = [np.nan, np.nan]
    layers = {"half_a": [[1, 2], nan, [1, 2]], "half_b": [[3, 4], nan, [1, np.nan]]}
    halves = halve(make_means(["control", "A", "B"], [9, 8, 7], **layers), np.random.default_rng(0))
    assert measured_twice(halves) == {"control"}  # B lacks a gene in one half
    assert halves.layers["half_b"][0].tolist() == [3.0, 4.0]
    assert np.isnan(halves.layers["half_a"][2]).all()
    assert halves.obs["n_cells"].tolist() == [9, 8, 7]
    assert "variance" not in halves.layers


def test_means_without_halves_are_skipped_with_the_reason() -> None:
    with pytest.raises(Skip, match="no layers 'half_a' and 'half_b'"):
        halve(make_means(["control", "A"]), np.random.default_rng(0))
    with pytest.raises(Skip, match="no layers"):
        halve(make_means(["control", "A"], half_a=np.ones((2, 2))), np.random.default_rng(0))
    with pytest.raises(Skip, match="no perturbation has values"):
        halve(
            make_means(["control", "A"], half_a=np.ones((2, 2)), half_b=np.full((2, 2), np.nan)),
            np.random.default_rng(0),
        )


@pytest.mark.parametrize(("layer", "value"), [("half_a", 80.0), ("half_b", -0.5), ("variance", np.inf)])
def test_halves_on_another_scale_are_refused_with_their_place(layer: str, value: float) -> None:
    layers = {name: np.ones((2, 2)) for name in ("half_a", "half_b", "variance")}
    layers[layer][1, 0] = value
    with pytest.raises(DataError, match=rf"layers\['{layer}'\] has {value} for 'A', gene 'g0'"):
        halve(make_means(["control", "A"], **layers), np.random.default_rng(0))


def test_duplicate_predicts_the_first_half_and_leaves_unanswered_what_has_none() -> None:
    halves = halve(
        make_cells(np.arange(10.0).reshape(5, 2), ["A", "control", "A", "control", "B"]), np.random.default_rng(0)
    )
    prediction = predict_duplicate(halves, ["B", "A"], halves.var_names)
    assert prediction.obs["perturbation"].tolist() == ["A"]
    assert prediction.X[0].tolist() == halves.layers["half_a"][0].tolist()
    assert list(prediction.uns["unanswered"]) == ["B"]


def test_truth_is_that_of_the_second_half_where_there_is_one() -> None:
    adata = make_cells(np.arange(10.0).reshape(5, 2), ["A", "control", "A", "control", "B"])
    halves, means = halve(adata, np.random.default_rng(0)), canonical.pseudobulk(adata)
    half = against_half(means, halves)
    assert half["A"].X[0].tolist() == halves["A"].layers["half_b"][0].tolist()
    assert half["B"].X[0].tolist() == means["B"].X[0].tolist()
    assert means["A"].X[0].tolist() == [2.0, 3.0]  # as it was
    layered = with_halves(means[["B", "A"]].copy(), halves)
    assert np.isnan(layered.layers["half_a"][0]).all()
    assert layered.layers["half_a"][1].tolist() == halves["A"].layers["half_a"][0].tolist()
