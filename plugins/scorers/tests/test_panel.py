"""The panel: the genes with the highest control mean, ties by data order."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness_scorers.panel import expression_rank, top_genes


def test_ties_are_ranked_in_data_order():
    assert expression_rank(np.array([1.0, 3.0, 0.0, 3.0, 1.0])).tolist() == [3, 1, 5, 2, 4]


def test_tie_at_the_edge_of_the_panel_goes_to_the_first_gene():
    assert top_genes(np.array([0.0, 2.0, 1.0, 1.0, 5.0]), 3).tolist() == [1, 2, 4]


def test_panel_of_more_genes_than_there_are_is_all_of_them():
    assert top_genes(np.array([1.0, 2.0]), 1000).tolist() == [0, 1]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=30))
def test_rank_counts_the_greater_and_the_earlier_equal(values):
    expected = [1 + sum(other > value for other in values) + values[:i].count(value) for i, value in enumerate(values)]
    assert expression_rank(np.array(values, dtype=float)).tolist() == expected
