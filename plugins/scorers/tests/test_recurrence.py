"""The largest values and what recurs among them."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness_scorers.recurrence import largest, lump, recurrence


def test_of_equal_values_the_first_is_taken():
    assert largest(np.array([1.0, 3.0, 2.0, 3.0, 2.0]), 3).tolist() == [1, 3, 2]


def test_fewer_values_than_asked_for_are_all_given():
    assert largest(np.array([1.0, 2.0]), 5).tolist() == [1, 0]


def test_equally_common_names_come_by_name():
    assert recurrence(["b", "c", "a", "c", "b"]) == [("b", 2), ("c", 2), ("a", 1)]


def test_rare_names_are_counted_together():
    assert lump(["a", "b", "a", "c"], ["c", "a", "x"]) == [("c", 1), ("a", 2), ("Other", 1)]
    assert lump(["a"], ["a"]) == [("a", 1)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-5, 5), max_size=30), st.integers(1, 40))
def test_largest_are_those_of_a_stable_sort(values, n):
    expected = sorted(range(len(values)), key=lambda i: (-values[i], i))[:n]
    assert largest(np.array(values, dtype=float), n).tolist() == expected


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from("abcd")), st.sets(st.sampled_from("abcd")))
def test_counts_add_up(names, kept):
    assert sum(n for _, n in recurrence(names)) == sum(n for _, n in lump(names, sorted(kept))) == len(names)
