"""What upstream is set up with, what is asked of it, and the scale of what it gives: no upstream needed."""

import numpy as np
import pytest
from pertharness import CONTROL, Skip
from pertharness.data.canonical import select
from pertharness.testing import pose
from pertharness_cpa import OFFER, fit, predict
from pertharness_cpa.layout import dose_of, lay_out, read_screen, validation_rows, why_not
from pertharness_cpa.predicting import drawn_controls, mean_expression
from pertharness_cpa.settings import OwnSettings


@pytest.fixture
def double():
    return pose("double", "cells")


def _fit(task, **params):
    return fit(train=task.train, task=task.task, params=OFFER.params | params, device="cpu", seed=1, workdir=None)


def test_doses_are_one_for_each_gene():
    assert [dose_of(condition) for condition in ("ctrl", "KLF1", "CEBPE+KLF1")] == ["1.0", "1.0", "1.0+1.0"]


def test_a_held_out_condition_is_one_row_with_control_counts(double):
    screen = read_screen(double.train, OwnSettings())
    is_valid = validation_rows(len(screen.conditions), 0.1, np.random.default_rng(1))
    adata = lay_out(screen, is_valid, double.queries)
    held_out = adata[adata.obs["split"] == "ood"]
    assert held_out.obs["condition"].tolist() == double.queries
    assert held_out.obs["dose_val"].tolist() == ["1.0+1.0"] * len(double.queries)
    control = screen.counts[screen.controls()[0]].toarray()
    np.testing.assert_array_equal(held_out.X.toarray(), np.repeat(control, len(double.queries), axis=0))
    assert adata.n_obs == double.train.n_obs + len(double.queries)


def test_the_other_rows_are_the_training_cells_in_their_order(double):
    screen = read_screen(double.train, OwnSettings())
    adata = lay_out(screen, np.zeros(len(screen.conditions), dtype=bool))
    labels = double.train.obs["perturbation"].astype(str)
    assert adata.obs["condition"].tolist() == ["ctrl" if label == CONTROL else label for label in labels]
    np.testing.assert_array_equal(adata.X.toarray(), double.train.layers["counts"].toarray())
    assert adata.X.dtype == np.float32
    assert set(adata.obs["split"]) == {"train"}


def test_validation_cells_are_a_share_of_the_training_cells_and_of_the_seed():
    one, same, other = (validation_rows(200, 0.1, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.sum() == 20
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert validation_rows(4, 0.1, np.random.default_rng(1)).sum() == 1


def test_only_pairs_of_genes_seen_alone_are_answered():
    singles = frozenset({"KLF1", "CEBPE"})
    assert why_not("CEBPE+KLF1", singles) is None
    assert "cannot extrapolate to unseen genes" in why_not("KLF1", singles)
    assert "CPA predicts pairs" in why_not("A+CEBPE+KLF1", singles)
    assert why_not("KLF1+ZNF9999", singles) == "'ZNF9999' was not perturbed alone in the training data"


def test_perturbations_with_three_targets_are_left_out_of_training(double):
    train = double.train.copy()
    labels = train.obs["perturbation"].astype(object)
    is_first = (labels == labels[labels != CONTROL].iloc[0]).to_numpy()
    train.obs["perturbation"] = np.where(is_first, "A+B+C", labels)
    screen = read_screen(train, OwnSettings())
    assert "A+B+C" not in screen.conditions
    assert len(screen.conditions) == train.n_obs - is_first.sum()
    assert f"{is_first.sum()} cells with more than 2 targets are left out" in screen.notes


def test_a_task_of_unseen_singles_is_skipped_with_the_reason():
    task = pose("single", "cells")
    with pytest.raises(Skip, match="has none for unseen genes; it predicts doubles only"):
        _fit(task)


def test_a_split_without_answerable_queries_is_skipped_before_training(double):
    model = _fit(double)
    with pytest.raises(Skip, match=r"none of the 2 queries: CPA predicts pairs of genes; 'KLF1' has 1"):
        predict(model=model, controls=double.controls, queries=["KLF1", "MYC"], device="cpu", seed=1, workdir=None)


def test_training_data_without_two_singles_are_skipped(double):
    double_only = select(double.train, [CONTROL, "KLF1", "CEBPE+KLF1"])
    with pytest.raises(Skip, match="there are 1 such genes and 40 control cells"):
        read_screen(double_only, OwnSettings())


def test_output_is_brought_back_to_the_totals_of_the_data():
    # Cells of 4 and 10 counts whose genes made 10 000 and 500 of their 10 000:
    # log1p of (2500, 7500) and (100, 400); as upstream wrote it down: log1p of (1, 3) and (2, 8).
    counts, totals = np.array([[1, 3], [2, 8]], dtype=np.float32), np.array([10_000.0, 500.0])
    expected = (np.log1p([2500, 7500]) + np.log1p([100, 400])) / 2
    np.testing.assert_allclose(mean_expression(counts, totals, "cp10k"), expected, rtol=1e-6)
    raw = (np.log1p([1, 3]) + np.log1p([2, 8])) / 2
    np.testing.assert_allclose(mean_expression(counts, totals, "upstream"), raw, rtol=1e-6)


def test_scale_is_that_of_one_mean_over_many_cells():
    rng = np.random.default_rng(0)
    counts, totals = rng.gamma(1.0, 1.0, (1300, 5)).astype(np.float32), rng.uniform(100, 1e4, 1300)
    wide = counts.astype(float)
    expected = np.log1p(wide / wide.sum(axis=1, keepdims=True) * totals[:, None]).mean(axis=0)
    np.testing.assert_allclose(mean_expression(counts, totals, "cp10k"), expected, rtol=1e-12)


def test_controls_are_all_or_drawn_with_the_seed():
    assert drawn_controls(5, 0, seed=1).tolist() == [0, 1, 2, 3, 4]
    drawn = drawn_controls(5, 100, seed=1)
    assert len(drawn) == 100
    assert set(drawn) == {0, 1, 2, 3, 4}
    np.testing.assert_array_equal(drawn, drawn_controls(5, 100, seed=1))
