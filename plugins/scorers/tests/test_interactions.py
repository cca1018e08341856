"""Deviations from additivity and their classes: by hand, beside the published wording, and symmetries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness_scorers.deviations import find_doubles, observe_doubles, take, without_rounding
from pertharness_scorers.interactions import CLASSES, classify, composition, is_called


def _class(effect, first, second):
    return CLASSES[int(classify(*(np.array([float(x)]) for x in (effect, first, second)))[0])]


def test_deviation_is_what_the_singles_do_not_add_up_to():
    # y0 (1, 2), A (2, 2), B (3, 1), A+B (3, 4): additive (4, 1), deviation (-1, 3), changes (2, 2), (1, 0), (2, -1)
    means = np.array([[1, 2], [2, 2], [3, 4], [3, 1]], dtype=float)
    doubles = observe_doubles(["control", "A", "A+B", "B"], means, means[0])
    assert doubles.labels == ("A+B",)
    assert doubles.deviation.tolist() == [[-1, 3]]
    assert doubles.effect.tolist() == [[2, 2]]
    assert (doubles.first.tolist(), doubles.second.tolist()) == ([[1, 0]], [[2, -1]])
    assert doubles.expectation.tolist() == [[4, 1]]


def test_doubles_come_in_data_order_and_those_without_a_single_are_left_out():
    found, left_out = find_doubles(["C+D", "B", "A+C", "control", "A+B", "A", "C", "A+B+C", "B+C"])
    assert found == [(2, 5, 6), (4, 5, 1), (8, 1, 6)]
    assert left_out == ["C+D"]


def test_screen_without_doubles_has_none():
    doubles = observe_doubles(["control", "A", "B"], np.zeros((3, 4)), np.zeros(4))
    assert doubles.labels == ()
    assert doubles.deviation.shape == (0, 4)


def test_some_doubles_are_taken_in_data_order():
    labels = ["A", "B", "C", "B+C", "A+C", "A+B"]
    doubles = observe_doubles(labels, np.arange(12.0).reshape(6, 2), np.zeros(2))
    taken = take(doubles, ["A+B", "B+C", "X+Y"])
    assert taken.labels == ("B+C", "A+B")
    assert taken.deviation.tolist() == doubles.deviation[[0, 2]].tolist()


def test_rounding_is_no_deviation():
    assert without_rounding(np.array([1e-6, -1e-6, 2e-6, np.nan])).tolist()[:3] == [0.0, 0.0, 2e-6]
    # Expression values below 16 in float32 are off by less than that.
    rng = np.random.default_rng(1)
    values = rng.uniform(0, 9.21, 10_000)
    assert not without_rounding(values.astype(np.float32).astype(float) - values).any()


@pytest.mark.parametrize(
    ("effect", "first", "second", "expected"),
    [
        (1.0, 1.0, 2.0, "buffering"),  # between 0 and 3
        (0.0, 1.0, 2.0, "buffering"),  # nothing is left
        (3.0, 1.0, 2.0, "buffering"),  # the additive expectation itself
        (3.5, 1.0, 2.0, "synergistic"),
        (-0.1, 1.0, 2.0, "opposite"),
        (-9.0, 1.0, 2.0, "opposite"),
        (-1.0, -1.0, -2.0, "buffering"),
        (-4.0, -1.0, -2.0, "synergistic"),
        (0.1, -1.0, -2.0, "opposite"),
        (1.0, -1.0, 2.0, "other"),
        (1.0, 0.0, 2.0, "other"),
        (1.0, 0.0, 0.0, "other"),
        (1.5e-200, 1e-200, 1e-200, "buffering"),  # the product of the effects is 0 in floating point
    ],
)
def test_classes_by_hand(effect, first, second, expected):
    assert _class(effect, first, second) == expected


def test_entry_at_a_threshold_is_not_called():
    deviations = np.array([-2.0, -2.1, 0.0, 1.0, 1.1])
    assert is_called(deviations, -2.0, 1.0).tolist() == [False, True, False, False, True]
    assert is_called(deviations, np.nan, 1.0).tolist() == [False, False, False, False, True]


def test_composition_counts_every_class():
    assert composition(np.array([[0, 0], [1, 4]])) == [
        ("additive", 2, 0.5), ("buffering", 1, 0.25), ("synergistic", 0, 0.0), ("opposite", 0, 0.0), ("other", 1, 0.25),
    ]  # fmt: skip
    assert all(n == 0 and np.isnan(share) for _, n, share in composition(np.zeros((0, 3), dtype=int)))


effects = st.floats(-4, 4).map(lambda x: round(x, 1))
fast = settings(max_examples=50, deadline=None)


def _class_in_words(effect, first, second):
    """The Methods' sentences, one after the other."""
    if first == 0 or second == 0 or (first > 0) != (second > 0):
        return "other"
    additive = first + second
    if effect != 0 and (effect > 0) != (additive > 0):
        return "opposite"
    return "buffering" if min(0, additive) <= effect <= max(0, additive) else "synergistic"


@fast
@given(effects, effects, effects)
def test_class_is_that_of_the_published_words(effect, first, second):
    assert _class(effect, first, second) == _class_in_words(effect, first, second)


@fast
@given(effects, effects, effects)
def test_class_does_not_depend_on_which_single_is_first(effect, first, second):
    assert _class(effect, first, second) == _class(effect, second, first)


@fast
@given(effects, effects, effects)
def test_class_does_not_depend_on_the_sign_of_all_effects(effect, first, second):
    assert _class(effect, first, second) == _class(-effect, -first, -second)


@fast
@given(effects, effects, effects, st.floats(0.01, 100))
def test_class_does_not_depend_on_the_scale(effect, first, second, scale):
    exact = 2.0 ** round(np.log2(scale))
    assert _class(effect, first, second) == _class(effect * exact, first * exact, second * exact)
