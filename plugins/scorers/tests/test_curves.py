"""Curves and areas: by hand, beside loops that follow the definitions word by word, and what always holds."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness_scorers.curves import (
    GRID,
    auprc,
    auprc_published,
    auroc,
    average_precision,
    count,
    rank,
    tpr_fdp,
)
from scipy.integrate import trapezoid
from scipy.stats import mannwhitneyu


def _counts(scores, positive, ties="block"):
    positive = np.array(positive, dtype=bool)
    return count(rank(np.array(scores, dtype=float), ties=ties), positive, ~positive)


# Ranking + - + -: cuts (tp, fp) = (1, 0) (1, 1) (2, 1) (2, 2), FDP 0, 1/2, 1/3, 1/2, recall 1/2, 1/2, 1, 1,
# precision 1, 1/2, 2/3, 1/2.
EXAMPLE = [4, 3, 2, 1], [1, 0, 1, 0]


def test_curve_is_interpolated_between_its_cuts():
    # Knots: FDP 0 -> 1/2, 1/3 -> 1, 1/2 -> 1 (twice). Between 0 and 1/3: 0.5 + 0.5 * FDP / (1/3).
    curve = tpr_fdp(_counts(*EXAMPLE), np.array([0.0, 0.1, 0.2, 0.4, 0.5, 0.6]))
    assert curve == pytest.approx([0.5, 0.65, 0.8, 1.0, 1.0, 1.0])


def test_curve_is_0_left_of_the_first_fdp_and_1_right_of_the_last():
    # Ranking - +: FDP 1 and 1/2, where TP are 0 and 1: at 1/2 all are found, and cut 1 cannot lose them again.
    assert tpr_fdp(_counts([2, 1], [0, 1]), np.array([0.49, 0.5, 1.0])).tolist() == [0.0, 1.0, 1.0]
    # Ranking + -: FDP 0 and 1/2.
    assert tpr_fdp(_counts([2, 1], [1, 0]), np.array([0.0, 0.6])).tolist() == [1.0, 1.0]


def test_cuts_of_equal_fdp_are_averaged():
    # Ranking + - + -: with only the cuts 1/2 left, after - +: cuts (0, 1) (1, 1) (1, 2) (2, 2): FDP 1, 1/2, 2/3, 1/2.
    # Sorted by FDP: 1/2 (TPR 1/2), 1/2 (TPR 1), 2/3 (1), 1 (1); mean at 1/2: 3/4.
    assert tpr_fdp(_counts([4, 3, 2, 1], [0, 1, 0, 1]), np.array([0.5]))[0] == 0.75


def test_areas_by_hand():
    counts = _counts(*EXAMPLE)
    # Trapezoid over recall 1/2 -> 1/2 -> 1 -> 1: (1/2 + 2/3) / 2 * 1/2
    assert auprc(counts) == pytest.approx(7 / 24)
    # Sorted by precision 1/2, 1/2, 2/3, 1 recall is 1/2, 1, 1, 1/2: -(1/2 * 1/2 + 0 + 5/6 * -1/2)
    assert auprc_published(counts) == pytest.approx(1 / 6)
    # Of 4 pairs of a positive and a negative, 3 are in order.
    assert auroc(counts) == 0.75
    assert average_precision(counts) == pytest.approx((1 + 2 / 3) / 2)


def test_tied_scores_enter_as_one_block():
    # One block of 4 with 1 positive: a single cut, FDP 3/4, recall 1, precision 1/4.
    counts = _counts([0, 0, 0, 0], [1, 0, 0, 0])
    assert tpr_fdp(counts, np.array([0.74, 0.75])).tolist() == [0.0, 1.0]
    assert (auroc(counts), average_precision(counts)) == (0.5, 0.25)
    # From the average recall of the first entry, 1/4, to 1 at precision 1/4.
    assert auprc(counts) == pytest.approx(3 / 16)


def test_order_of_tied_rows_counts_in_the_published_way_alone():
    for ties, differ in (("row", True), ("block", False)):
        one, other = (_counts([1, 1], labels, ties) for labels in ([1, 0], [0, 1]))
        assert (auroc(one) != auroc(other)) == differ


def test_entries_that_are_neither_change_no_area():
    scores, positive, negative = np.array([3.0, 2.0, 1.0]), np.array([1, 0, 0]) > 0, np.array([0, 0, 1]) > 0
    counts = count(rank(scores), positive, negative)
    assert (auroc(counts), average_precision(counts)) == (1.0, 1.0)


@pytest.mark.parametrize("area", [auprc, auprc_published, auroc, average_precision])
def test_area_without_positives_is_undefined(area):
    assert np.isnan(area(_counts([2, 1], [0, 0])))
    assert np.isnan(tpr_fdp(_counts([2, 1], [0, 0]))).all()


def test_auroc_without_negatives_is_undefined():
    assert np.isnan(auroc(_counts([2, 1], [1, 1])))


# Independent implementations: exact fractions, one threshold at a time.


def _cuts(scores, positive):
    """(tp, fp) of all entries of at least each score that occurs, from the highest down."""
    pairs = list(zip(scores, positive, strict=True))
    for threshold in sorted(set(scores), reverse=True):
        above = [label for score, label in pairs if score >= threshold]
        yield sum(above), len(above) - sum(above)


def _loop_curve(scores, positive, at):
    n_positive, knots = sum(positive), {}
    cuts = [(Fraction(fp, max(1, tp + fp)), tp) for tp, fp in _cuts(scores, positive)]
    best = 0
    for fdp, tp in sorted(cuts, key=lambda cut: cut[0]):
        best = max(best, tp)
        knots.setdefault(fdp, []).append(Fraction(best, n_positive))
    knots = [(fdp, sum(tprs) / len(tprs)) for fdp, tprs in knots.items()]
    if at < knots[0][0]:
        return 0.0
    for (x0, y0), (x1, y1) in pairwise(knots):
        if x0 <= at <= x1:
            return float(y0 + (y1 - y0) * (at - x0) / (x1 - x0))
    return float(knots[-1][1]) if at == knots[-1][0] else 1.0


def _loop_auroc(scores, positive):
    pairs = list(zip(scores, positive, strict=True))
    wins = [
        Fraction(1, 2) if a == b else Fraction(int(a > b))
        for a, label_a in pairs if label_a
        for b, label_b in pairs if not label_b
    ]  # fmt: skip
    return float(sum(wins) / len(wins))


def _loop_average_precision(scores, positive):
    total, before = Fraction(0), 0
    for tp, fp in _cuts(scores, positive):
        total += Fraction(tp, tp + fp) * Fraction(tp - before, sum(positive))
        before = tp
    return float(total)


labelled = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=40).filter(
    lambda pairs: 0 < sum(label for _, label in pairs) < len(pairs)
)
fast = settings(max_examples=50, deadline=None)


@fast
@given(labelled)
def test_curve_and_areas_equal_the_loops(pairs):
    scores, positive = zip(*pairs, strict=True)
    counts = _counts(scores, positive)
    at = [Fraction(i, 16) for i in range(17)]
    expected = [_loop_curve(scores, positive, x) for x in at]
    assert tpr_fdp(counts, np.array(at, dtype=float)) == pytest.approx(expected, abs=1e-12)
    assert auroc(counts) == pytest.approx(_loop_auroc(scores, positive), abs=1e-12)
    assert average_precision(counts) == pytest.approx(_loop_average_precision(scores, positive), abs=1e-12)


@fast
@given(labelled)
def test_areas_equal_those_of_scipy(pairs):
    scores, positive = (np.array(column) for column in zip(*pairs, strict=True))
    pairs_in_order = mannwhitneyu(scores[positive], scores[~positive]).statistic
    auc = auroc(_counts(scores, positive))
    assert auc == pytest.approx(pairs_in_order / (positive.sum() * (~positive).sum()), abs=1e-12)
    counts = _counts(np.arange(len(scores)), positive)
    assert auprc(counts) == pytest.approx(trapezoid(counts.precision, counts.recall), abs=1e-12)


@fast
@given(labelled, st.sampled_from(["block", "row"]))
def test_curve_rises_within_0_and_1(pairs, ties):
    curve = tpr_fdp(_counts(*zip(*pairs, strict=True), ties))
    assert curve.shape == GRID.shape
    assert (np.diff(curve) >= -1e-12).all()
    assert curve.min() >= 0
    assert curve[-1] == 1


@fast
@given(labelled)
def test_reversed_ranking_has_the_opposite_auroc(pairs):
    scores, positive = zip(*pairs, strict=True)
    here, there = _counts(scores, positive), _counts([-score for score in scores], positive)
    assert auroc(here) == pytest.approx(1 - auroc(there), abs=1e-12)


@fast
@given(labelled, st.randoms())
def test_order_of_the_data_has_no_say(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    here, there = (_counts(*zip(*rows, strict=True)) for rows in (pairs, shuffled))
    for area in (auprc, auroc, average_precision):
        assert area(here) == pytest.approx(area(there), abs=1e-12)


@fast
@given(labelled)
def test_without_ties_block_and_row_are_the_same(pairs):
    scores = np.arange(len(pairs), 0, -1)
    block, row = (_counts(scores, [label for _, label in pairs], ties) for ties in ("block", "row"))
    assert auprc(block) == auprc(row)
    assert tpr_fdp(block).tolist() == tpr_fdp(row).tolist()


@fast
@given(labelled)
def test_areas_are_within_0_and_1(pairs):
    for ties in ("block", "row"):
        counts = _counts(*zip(*pairs, strict=True), ties)
        for area in (auprc, auroc, average_precision):
            assert -1e-12 <= area(counts) <= 1 + 1e-12
