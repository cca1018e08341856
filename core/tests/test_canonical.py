"""The canonical dataset: every breach is named, means are exact, selections tell nothing of the rest."""

from __future__ import annotations

from collections.abc import Callable

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness.contract.errors import DataError
from pertharness.data.canonical import (
    check_dataset,
    control_mean,
    describe_perturbations,
    find_value,
    pseudobulk,
    select,
)
from pertharness.data.expression import layers_of
from scipy import sparse

LABELS = ["B", "control", "A", "A+B", "control", "B", "A", "A+B"]
# Genes A, B, C; rows as LABELS.
VALUES = [[1, 3, 0], [1, 1, 1], [4, 0, 2], [4, 4, 0], [3, 1, 1], [1, 5, 0], [2, 0, 0], [0, 2, 2]]


def make_dataset(values: object = None, **fields: object) -> anndata.AnnData:
    matrix = sparse.csr_matrix(np.array(VALUES, dtype=np.float32)) if values is None else values
    given_labels = ["ctrl" if label == "control" else label for label in LABELS]
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical(LABELS),
            "label_given": pd.Categorical(given_labels),
            "context": pd.Categorical(["K562"] * 8),
            "total_counts": np.arange(8.0),
            "secret": range(8),
        },
        index=[f"cell{i}" for i in range(8)],
    )
    var = pd.DataFrame({"ensembl_id": ["E1", "E2", "E3"], "mean": [1.0, 2.0, 3.0]}, index=["A", "B", "C"])
    uns = {"name": "small", "level": "cells", "scale": "log1p CP10k", "origin": "made here", "modality": "crispra"}
    return anndata.AnnData(X=matrix, obs=obs, var=var, uns={"pertharness": {**uns, **fields}})


def dense(**changes: float) -> np.ndarray:
    matrix = np.array(VALUES, dtype=np.float32)
    matrix[3, 2] = changes["value"]
    return matrix


def with_obs(column: str, values: object) -> anndata.AnnData:
    adata = make_dataset()
    adata.obs[column] = values
    return adata


def with_genes(names: list[str]) -> anndata.AnnData:
    adata = make_dataset()
    adata.var.index = pd.Index(names)
    return adata


def without(column: str) -> anndata.AnnData:
    adata = make_dataset()
    del adata.obs[column]
    return adata


def of_another_kind() -> anndata.AnnData:
    adata = make_dataset()
    del adata.uns["pertharness"]
    return adata


BREACHES: dict[str, tuple[Callable[[], anndata.AnnData], list[str]]] = {
    "empty": (lambda: make_dataset()[:0].copy(), ["empty", "0 rows x 3 genes"]),
    "another kind": (of_another_kind, ["uns['pertharness']", "another kind", "--data"]),
    "level": (lambda: make_dataset(level="bulk"), ["'bulk'", "'cells' or 'pseudobulk'"]),
    "scale": (lambda: make_dataset(scale="counts"), ["'counts'", "'log1p CP10k'"]),
    "modality": (lambda: make_dataset(modality="drug"), ["'drug'", "'crispra'"]),
    "origin": (lambda: make_dataset(origin=3), ["'origin'", "3", "a text"]),
    "no labels": (lambda: without("perturbation"), ["obs['perturbation'] is missing", "--label-column"]),
    "no given labels": (lambda: without("label_given"), ["obs['label_given'] is missing"]),
    "empty label": (lambda: with_obs("perturbation", [*LABELS[:7], None]), ["empty", "'cell7'"]),
    "not canonical": (lambda: with_obs("perturbation", [*LABELS[:7], "B+A"]), ["'B+A'", "expected 'A+B'"]),
    "no control": (lambda: with_obs("perturbation", ["A", "B"] * 4), ["no 'control'", "'A', 'B'", "--control-label"]),
    "one": (lambda: with_obs("perturbation", ["A", "control"] * 4), ["1 perturbation ", "'A'", "at least 2"]),
    "only control": (lambda: with_obs("perturbation", ["control"] * 8), ["0 perturbation ", "at least 2"]),
    "duplicate genes": (lambda: with_genes(["A", "B", "A"]), ["more than once", "'A'", "--gene-column"]),
    "empty gene": (lambda: with_genes(["A", "", "C"]), ["gene 1", "''", "--gene-column"]),
    "contexts": (lambda: with_obs("context", ["K562", "RPE1"] * 4), ["2 values", "'K562', 'RPE1'", "--context"]),
    "rows": (lambda: make_dataset(dense(value=0), level="pseudobulk"), ["'control'", "2 rows", "--level"]),
    "csc": (lambda: make_dataset(sparse.csc_matrix(dense(value=0))), ["csc_matrix", "CSR"]),
    "type": (lambda: make_dataset(dense(value=0).astype(np.float64)), ["'float64'", "float32"]),
    "nan": (lambda: make_dataset(dense(value=np.nan)), ["nan", "'cell3'", "'C'", "finite"]),
    "inf": (lambda: make_dataset(sparse.csr_matrix(dense(value=np.inf))), ["inf", "'cell3'", "'C'"]),
    "negative": (lambda: make_dataset(dense(value=-1)), ["-1.0", "'cell3'", "'C'", "z-scores", "--layer"]),
    "too high": (lambda: make_dataset(dense(value=9.5)), ["9.5", "9.21", "--scale counts --normalise"]),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_every_breach_of_the_form_is_named(breach: str) -> None:
    make, words = BREACHES[breach]
    with pytest.raises(DataError) as error:
        check_dataset(make(), "mine")
    assert str(error.value).startswith("dataset 'mine': ")
    for word in words:
        assert word in str(error.value)


def test_a_dataset_and_its_pseudobulk_have_the_form() -> None:
    check_dataset(make_dataset(), "mine")
    check_dataset(make_dataset(dense(value=0)), "mine")
    check_dataset(pseudobulk(make_dataset()), "mine")


def test_pseudobulk_is_the_mean_of_the_cells_in_order_of_appearance() -> None:
    means = pseudobulk(make_dataset())
    assert list(means.obs_names) == ["B", "control", "A", "A+B"]
    # B: ([1 3 0] + [1 5 0]) / 2, control: ([1 1 1] + [3 1 1]) / 2, A: ([4 0 2] + [2 0 0]) / 2, ...
    assert means.X.tolist() == [[1, 4, 0], [2, 1, 1], [3, 0, 1], [2, 3, 1]]
    assert means.X.dtype == np.float64
    assert list(means.obs["n_cells"]) == [2, 2, 2, 2]
    assert list(means.obs["label_given"]) == ["B", "ctrl", "A", "A+B"]
    assert list(means.obs["context"]) == ["K562"] * 4
    assert list(means.var.columns) == ["ensembl_id"]
    assert means.uns["pertharness"]["level"] == "pseudobulk"


def test_pseudobulk_of_a_pseudobulk_changes_nothing() -> None:
    once = pseudobulk(make_dataset())
    twice = pseudobulk(once)
    assert np.array_equal(once.X, twice.X)
    pd.testing.assert_frame_equal(once.obs, twice.obs)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.booleans())
def test_means_agree_with_pandas_however_the_matrix_is_stored(seed: int, is_sparse: bool) -> None:
    rng = np.random.default_rng(seed)
    matrix = (rng.random((40, 5)) * rng.integers(0, 2, (40, 5))).astype(np.float32)
    labels = np.array(["control", "A", "B", *rng.choice(["control", "A", "B", "A+B"], 37)], dtype=object)
    adata = anndata.AnnData(
        X=sparse.csr_matrix(matrix) if is_sparse else matrix,
        obs=pd.DataFrame({"perturbation": labels, "label_given": labels}, index=[f"c{i}" for i in range(40)]),
        uns={"pertharness": {"name": "x", "level": "cells", "scale": "log1p CP10k", "origin": "x"}},
    )
    expected = pd.DataFrame(matrix.astype(np.float64)).groupby(labels, sort=False).mean()
    means = pseudobulk(adata)
    assert list(means.obs_names) == list(expected.index)
    np.testing.assert_allclose(means.X, expected.to_numpy(), rtol=0, atol=1e-14)
    np.testing.assert_allclose(control_mean(adata), expected.loc["control"].to_numpy(), rtol=0, atol=1e-14)


def test_control_mean_is_the_same_at_both_levels_and_refuses_its_absence() -> None:
    adata = make_dataset()
    assert control_mean(adata).tolist() == control_mean(pseudobulk(adata)).tolist() == [2, 1, 1]
    with pytest.raises(DataError, match=r"no 'control' among 'A'"):
        control_mean(select(adata, ["A"]))


def test_descriptions_are_the_ones_worked_out_by_hand() -> None:
    table = describe_perturbations(pseudobulk(make_dataset()))
    assert list(table["perturbation"]) == ["B", "control", "A", "A+B"]
    assert list(table["n_targets"]) == [1, 0, 1, 2]
    # control [2 1 1]; B [1 4 0] - control = [-1 3 -1], l2 = sqrt(11); A [1 -1 0]; A+B [0 2 0]
    np.testing.assert_allclose(table["effect"], [np.sqrt(11), 0, np.sqrt(2), 2])
    # crispra: B rose by 3, A by 1; of A+B B rose but A stayed.
    assert list(table["on_target"].astype(object)) == [True, pd.NA, True, False]


def test_on_target_follows_the_modality_and_is_empty_without_one() -> None:
    means = pseudobulk(make_dataset(modality="crispri"))
    assert list(describe_perturbations(means)["on_target"].astype(object)) == [False, pd.NA, False, False]
    del means.uns["pertharness"]["modality"]
    assert describe_perturbations(means)["on_target"].isna().all()
    assert describe_perturbations(select(means, ["control", "A"]))["n_cells"].tolist() == [2, 2]


def test_a_selection_keeps_rows_in_order_and_nothing_of_the_others() -> None:
    adata = make_dataset(notes="B was pooled")
    adata.uns["perturbation_colors"] = np.array(["red"] * 4)
    adata.obsm["X_pca"] = np.zeros((8, 2))
    adata.layers["counts"] = adata.X.copy()
    adata.layers["scaled"] = adata.X.toarray()
    chosen = select(adata, ["A", "control"])
    assert list(chosen.obs["perturbation"]) == ["control", "A", "control", "A"]
    assert list(chosen.obs["perturbation"].cat.categories) == ["A", "control"]
    assert list(chosen.obs["label_given"].cat.categories) == ["A", "ctrl"]
    assert list(chosen.obs.columns) == ["perturbation", "label_given", "context", "total_counts"]
    assert list(chosen.obs_names) == ["0", "1", "2", "3"]
    assert chosen.X.toarray().tolist() == [VALUES[i] for i in (1, 2, 4, 6)]
    assert list(layers_of(chosen)) == ["counts"]
    assert list(chosen.var.columns) == ["ensembl_id"]
    assert list(chosen.uns) == ["pertharness"]
    assert "notes" not in chosen.uns["pertharness"]
    assert not (chosen.obsm or chosen.varm or chosen.obsp or chosen.raw)


def test_a_selection_is_the_same_whatever_the_other_rows_are() -> None:
    adata, other = make_dataset(), make_dataset()
    other.X.data[other.X.indptr[5] : other.X.indptr[6]] = 7.0  # row 5 is a B
    first, second = select(adata, ["A", "control"]), select(other[[0, 1, 2, 4, 5, 6]].copy(), ["A", "control"])
    assert (first.X != second.X).nnz == 0
    pd.testing.assert_frame_equal(first.obs, second.obs)


def test_a_selection_does_not_share_memory_with_the_dataset() -> None:
    adata = make_dataset(dense(value=0))
    chosen = select(adata, ["A", "B", "A+B", "control"])
    chosen.X[:] = 9
    chosen.obs["total_counts"] = 0.0
    assert adata.X.max() == 5
    assert adata.obs["total_counts"].sum() == 28


def test_a_selection_of_an_unknown_perturbation_names_it() -> None:
    with pytest.raises(DataError, match=r"1 perturbations are not in the dataset \('Z'\)"):
        select(make_dataset(), ["A", "Z"])


def test_a_pseudobulk_selection_is_named_by_perturbation() -> None:
    assert list(select(pseudobulk(make_dataset()), ["A+B", "control"]).obs_names) == ["control", "A+B"]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 5), st.integers(0, 3), st.booleans())
def test_a_bad_value_is_found_where_it_is(row: int, column: int, is_sparse: bool) -> None:
    matrix = np.arange(24, dtype=np.float64).reshape(6, 4) % 5
    matrix[row, column] = -3
    found = find_value(sparse.csr_matrix(matrix) if is_sparse else matrix, lambda x: x < 0)
    assert found == (row, column, -3.0)
