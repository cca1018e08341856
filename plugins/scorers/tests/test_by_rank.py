"""The curves over growing gene sets: worked by hand, beside a loop, and their invariances."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness import COLUMNS, CONTROL
from pertharness_scorers.by_rank import (
    change_order,
    cumulative_l2,
    describe_curves,
    pool_curves,
    sampled_ranks,
    score_by_rank,
)

GENES = ["A", "B", "C"]
fast = settings(max_examples=50, deadline=None)


def _means(rows, genes=GENES):
    obs = pd.DataFrame({"perturbation": list(rows)}, index=[f"row{i}" for i in range(len(rows))])
    x = np.array(list(rows.values()), dtype=float).reshape(len(rows), len(genes))
    return AnnData(X=x, obs=obs, var=pd.DataFrame(index=list(genes)))


def _given(y, yhat, y0, genes=GENES):
    controls = _means({CONTROL: y0}, genes)
    train = _means({CONTROL: y0, "T": [0] * len(genes)}, genes)
    return score_by_rank(_means(y, genes), _means(yhat, genes), controls, train)


def _curve(given, variant):
    table = given.table[given.table["variant"] == variant]
    return dict(zip(table["coordinate"], table["value"], strict=True))


def test_curve_adds_up_the_squares_gene_by_gene():
    # Errors (3, 4, 12). By expression: B, C, A. Changes (0, -1, 5): by change C, B, A.
    given = _given({"X": [1, 2, 8]}, {"X": [4, 6, 20]}, [1, 3, 3])
    assert _curve(given, "expression") == pytest.approx({1: 4, 2: (16 + 144) ** 0.5, 3: 13})
    assert _curve(given, "differential-expression") == pytest.approx({1: 12, 2: (144 + 16) ** 0.5, 3: 13})
    assert tuple(given.table.columns) == COLUMNS
    assert set(given.table["perturbation"]) == {""}


@pytest.mark.parametrize("n_genes", [40, 120])
def test_curves_equal_a_loop_with_norms(n_genes):
    rng = np.random.default_rng(n_genes)
    genes = [f"g{i:03d}" for i in range(n_genes)]
    y0 = np.round(rng.gamma(1.0, 1.0, n_genes), 1)
    y = dict(zip("XYZ", y0 + np.round(rng.normal(0, 0.5, (3, n_genes)), 1), strict=True))
    yhat = {label: row + rng.normal(0, 0.3, n_genes) for label, row in reversed(y.items())}
    given = _given(y, yhat, y0, genes)
    for variant, key in (("expression", lambda _: -y0), ("differential-expression", lambda p: -abs(y[p] - y0))):
        expected = {
            n: np.mean([
                np.linalg.norm([yhat[p][i] - y[p][i] for i in sorted(range(n_genes), key=lambda i: key(p)[i])[:n]])
                for p in y
            ])
            for n in [*range(1, min(n_genes, 100) + 1), *range(101, n_genes, 10), n_genes]
        }  # fmt: skip
        assert _curve(given, variant) == pytest.approx(expected)


def test_curve_is_the_mean_over_perturbations_and_the_table_tells_their_spread():
    # All errors in the first gene: 1 and 5, mean 3, sd sqrt(2 * 2^2 / 1)
    given = _given({"X": [1, 0, 0], "Y": [1, 0, 0]}, {"X": [2, 0, 0], "Y": [6, 0, 0]}, [9, 1, 0])
    table = given.artefacts["l2_by_rank"]
    assert list(table.columns) == ["variant", "n", "mean", "sd", "n_perturbations"]
    assert table["mean"].tolist() == [3.0] * 6
    assert table["sd"].to_numpy() == pytest.approx(8**0.5)
    assert set(table["n_perturbations"]) == {2}


def test_spread_of_one_perturbation_is_undefined():
    table = _given({"X": [1, 2, 3]}, {"X": [1, 2, 4]}, [1, 2, 3]).artefacts["l2_by_rank"]
    assert table["sd"].isna().all()
    assert table["mean"].notna().all()


def test_answer_with_a_missing_value_is_left_out_and_a_missing_gene_is_filled():
    broken = _given({"X": [0, 0, 0], "Y": [0, 0, 0]}, {"X": [1, 0, 0], "Y": [np.nan, 0, 0]}, [3, 2, 1])
    assert _curve(broken, "expression") == {1: 1.0, 2: 1.0, 3: 1.0}
    assert set(broken.artefacts["l2_by_rank"]["n_perturbations"]) == {1}
    # The mean of the training conditions is 0: gene A has an error of 2.
    filled = _given({"X": [2, 0, 0], "Y": [2, 0, 0]}, {"X": [np.nan, 0, 0], "Y": [np.nan, 0, 0]}, [3, 2, 1])
    assert _curve(filled, "expression") == {1: 2.0, 2: 2.0, 3: 2.0}


def test_without_an_answer_the_curve_is_undefined():
    given = _given({"X": [1, 2, 3]}, {}, [1, 2, 3])
    assert given.table["value"].isna().all()
    assert set(given.artefacts["l2_by_rank"]["n_perturbations"]) == {0}


@pytest.mark.parametrize(
    ("n_genes", "last"), [(1, [1]), (100, [99, 100]), (105, [101, 105]), (400, [381, 391, 400]),
                          (1000, [981, 991, 1000]), (1234, [991, 1000, 1100, 1200, 1234]), (1300, [1200, 1300])],
)  # fmt: skip
def test_ranks_are_dense_at_first_and_end_with_all_genes(n_genes, last):
    ranks = sampled_ranks(n_genes).tolist()
    assert ranks[-len(last) :] == last
    assert ranks[: min(n_genes, 100)] == list(range(1, min(n_genes, 100) + 1))
    assert ranks == sorted(set(ranks))


def test_ranks_at_the_size_of_the_published_screens():
    # 100 single ones, 90 of 101, 111, ..., 991, 41 of 1000, 1100, ..., 5000, and 5044 itself
    assert len(sampled_ranks(5044)) == 100 + 90 + 41 + 1


@fast
@given(st.lists(st.lists(st.sampled_from([0.0, -0.0, 1.0, -1.0, 1 + 1e-15, 2.5, -2.5]), min_size=6, max_size=6)))
def test_order_by_change_is_the_stable_one_whatever_is_tied_or_nearly_so(rows):
    change = np.array(rows).reshape(len(rows), 6)
    expected = np.argsort(-np.abs(change), axis=1, kind="stable")
    assert change_order(change).tolist() == expected.tolist()


@pytest.mark.parametrize("n_genes", [1, 2, 255, 256, 257, 1200])
def test_order_by_change_is_the_stable_one_for_any_number_of_genes(n_genes):
    change = np.random.default_rng(n_genes).normal(size=(7, n_genes))
    change[:3] = np.round(change[:3], 1)
    assert np.array_equal(change_order(change), np.argsort(-np.abs(change), axis=1, kind="stable"))


@fast
@given(st.integers(0, 10_000), st.integers(1, 130))
def test_curves_rise_to_the_l2_over_all_genes_which_no_order_changes(seed, n_genes):
    rng = np.random.default_rng(seed)
    squares, ranks = rng.gamma(1.0, size=(3, n_genes)), sampled_ranks(n_genes)
    curve = cumulative_l2(squares, ranks)
    assert (np.diff(curve, axis=1) >= 0).all()
    assert curve[:, -1] == pytest.approx(np.sqrt(squares.sum(axis=1)))
    assert curve == pytest.approx(np.sqrt(np.cumsum(squares, axis=1))[:, ranks - 1])


@fast
@given(st.integers(0, 10_000), st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_pooled_splits_equal_one_split_of_all_perturbations(seed, sizes):
    rng, ranks = np.random.default_rng(seed), np.array([1, 4])
    splits = [rng.gamma(2.0, size=(size, 2)) for size in sizes]
    pooled = pool_curves([describe_curves(split, ranks, "expression") for split in splits])
    everything = np.concatenate(splits)
    if not len(everything):
        assert pooled.empty
        return
    assert pooled["mean"].to_numpy() == pytest.approx(everything.mean(axis=0))
    assert set(pooled["n_perturbations"]) == {len(everything)}
    if len(everything) == 1:
        assert pooled["sd"].isna().all()
    else:
        sd = everything.std(axis=0, ddof=1)
        assert pooled["sd"].to_numpy() == pytest.approx(sd, abs=1e-7)
        # sd / sqrt(number of genes), as published
        assert pooled["published_se"].to_numpy() == pytest.approx(sd / np.array([1, 2]), abs=1e-7)
