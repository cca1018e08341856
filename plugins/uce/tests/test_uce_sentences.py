"""Sentences of cells, beside a plain form of the published sampling; and how counts become what is sampled from."""

import time

import numpy as np
import pytest
from pertharness import DataError, Skip
from pertharness.testing.planted import planted_cells
from pertharness_foundation.cells import read_cells
from pertharness_foundation.counts import recover_counts
from pertharness_uce.cells import Left, Observed, Preparation, draw_pool, observe, paste, prepare
from pertharness_uce.sentences import Places, draw_sentences
from scipy import sparse

OFFSET = 1000


def make_places(n_genes, n_chromosomes, seed=0, *, n_starts=10**6):
    rng = np.random.default_rng(seed)
    return Places(
        rng.permutation(n_genes) + 4,
        rng.integers(0, n_chromosomes, n_genes),
        rng.integers(0, n_starts, n_genes),
        OFFSET,
    )


def make_counts(n_cells, n_genes, seed=0):
    rng = np.random.default_rng(seed)
    return sparse.csr_matrix(rng.poisson(0.4, (n_cells, n_genes)) * rng.integers(1, 30, n_genes))


def plain_sentence(counts, places, rng, size):
    """Return a sentence as the published code makes it, with the functions of numpy that it calls."""
    weights = np.log1p(counts.astype(np.float32))
    weights /= weights.sum()
    weights /= sum(weights.tolist())
    choice = rng.choice(np.arange(len(counts)), size=size, p=weights, replace=True)
    chromosomes = np.unique(places.chromosomes[choice])
    rng.shuffle(chromosomes)
    sentence = [3]
    for code in chromosomes:
        of_chromosome = choice[places.chromosomes[choice] == code]
        of_chromosome = of_chromosome[np.argsort(places.starts[of_chromosome], kind="stable")]
        sentence += [OFFSET + code, *places.tokens[of_chromosome], 2]
    return sentence


@pytest.mark.parametrize(("n_chromosomes", "n_starts"), [(1, 10**6), (6, 10**6), (6, 4)], ids=["one", "some", "ties"])
def test_sentences_are_those_of_the_published_sampling(n_chromosomes, n_starts):
    counts, places = make_counts(30, 70), make_places(70, n_chromosomes, n_starts=n_starts)
    sentences = draw_sentences(counts, places, np.random.RandomState(5), sample_size=40, positions=100)
    rng = np.random.RandomState(5)
    for cell, (tokens, length) in enumerate(zip(sentences.tokens, sentences.lengths, strict=True)):
        expected = plain_sentence(counts[cell].toarray()[0], places, rng, 40)
        assert tokens[:length].tolist() == expected
        assert not tokens[length:].any()
    assert sentences.lengths.max() == sentences.tokens.shape[1]


def test_a_sentence_that_is_too_long_is_an_error_that_says_so():
    counts, places = make_counts(3, 70), make_places(70, 30)
    with pytest.raises(DataError, match=r"genes on \d+ chromosomes, .* the checkpoint takes 60: take a smaller"):
        draw_sentences(counts, places, np.random.RandomState(0), sample_size=40, positions=60)


@pytest.mark.parametrize("n_cells", [0, 1])
def test_few_cells(n_cells):
    sentences = draw_sentences(
        make_counts(2, 70)[:n_cells], make_places(70, 3), np.random.RandomState(0), sample_size=8, positions=60
    )
    assert len(sentences.tokens) == len(sentences.mask()) == n_cells


def test_cells_of_a_whole_genome_are_tokenised_in_no_time():
    # 10 000 cells are to take under 10 s; a busy machine may need twice the time.
    n_cells, n_genes = 1_000, 19_264
    rng = np.random.default_rng(0)
    each = n_genes // 6
    columns = rng.integers(0, 6, (n_cells, each)) + 6 * np.arange(each)
    values = rng.integers(1, 9, columns.size).astype(np.float64)
    counts = sparse.csr_matrix((values, columns.ravel(), each * np.arange(n_cells + 1)), (n_cells, n_genes))
    how = Preparation(np.arange(n_genes), "sampled", "truncate", 10, 25)
    places = make_places(n_genes, 25)
    start = time.process_time()
    whole, _ = prepare(counts, how)
    sentences = draw_sentences(whole, places, np.random.RandomState(0), sample_size=1024, positions=1536)
    assert time.process_time() - start < 2
    assert sentences.tokens.shape == (n_cells, 1 + 1024 + 2 * 25)


def pool_of(counts):
    return sparse.csr_matrix(np.array(counts, dtype=np.float64))


def test_rare_genes_go_first_and_then_poor_cells():
    counts = pool_of([[1, 2, 0, 0, 5], [1, 2, 3, 0, 0], [0, 2, 0, 7, 0], [4, 0, 0, 0, 0]])
    # Expressed in 3, 3, 1, 1 and 1 of the cells: with two cells needed, the first two genes are left.
    whole, left = prepare(counts, Preparation(np.array([0, 1, 4]), "sampled", "round", min_cells=2, min_genes=2))
    assert whole.toarray().tolist() == [[1, 2, 0], [1, 2, 0]]
    assert left == Left(made=4, poor=2)
    assert left.note(2) == "of 4 made, 2 have fewer than 2 expressed genes, and are left out"
    whole, left = prepare(counts, Preparation(np.array([2, 3]), "off", "round", min_cells=2, min_genes=2))
    assert whole.toarray().tolist() == [[3, 0], [0, 7]]
    assert left.note(2) == "of 4 made, 2 have no gene with a token, and are left out"
    assert (left + left).silent == 4
    assert Left(made=3).note(2) == ""


def test_what_is_left_of_counts_after_truncation():
    counts = pool_of([[1.0, 2.9999998, 0.7], [0.3, 0.0, 0.9]])
    every = np.arange(3)
    truncated, left = prepare(counts, Preparation(every, "off", "truncate", 0, 0))
    assert truncated.toarray().tolist() == [[1, 2, 0]]
    assert truncated.dtype == np.int64
    assert left.silent == 1
    assert prepare(counts, Preparation(every, "off", "round", 0, 0))[0].toarray().tolist() == [[1, 3, 1], [0, 0, 1]]


@pytest.mark.parametrize("pasted", ["log", "counts"])
def test_values_of_one_cell_are_pasted_over_all_targets_of_a_cell(pasted):
    pool = pool_of([[1, 0, 7, 2], [3, 1, 0, 0], [1, 1, 1, 1]])
    values = np.log1p(np.array([[3.0, 0.0], [8.0, 4.0]], dtype=np.float32))
    observed = Observed(np.array([2, 0]), values, np.log1p(np.array([1.0, 4.0], dtype=np.float32)))
    counts = np.array([[3.0, 0.0], [2.0, 1.0]])
    np.testing.assert_allclose(observed.counts(), counts, rtol=1e-6)
    rows = np.random.RandomState(3).choice(2, 3)
    assert set(rows) == {0, 1}
    made = paste(pool, observed, pasted, np.random.RandomState(3)).toarray()
    np.testing.assert_allclose(made[:, [2, 0]], (values if pasted == "log" else counts)[rows], rtol=1e-6)
    np.testing.assert_array_equal(made[:, [1, 3]], pool.toarray()[:, [1, 3]])


def test_observed_counts_are_those_of_the_whole_cell():
    cells = planted_cells()
    expression, labels = read_cells(cells, [], "training")
    columns = np.array([3, 30, 7])
    observed = observe(expression, columns)
    np.testing.assert_array_equal(observed.values, cells.X[:, columns].toarray())
    np.testing.assert_array_equal(observed.counts(), recover_counts(expression)[:, columns].toarray())
    assert list(labels) == list(cells.obs["perturbation"])


def test_controls_are_drawn_with_replacement_or_each_once():
    expression, _ = read_cells(planted_cells(), [], "training")
    rows = np.random.RandomState(2).choice(expression.shape[0], 300)
    drawn = draw_pool(expression, 300, "replacement", np.random.RandomState(2))
    np.testing.assert_array_equal(drawn.toarray(), recover_counts(expression[rows]).toarray())
    distinct = draw_pool(expression, 300, "distinct", np.random.RandomState(2)).toarray()
    assert len(distinct) == len(np.unique(distinct, axis=0)) == expression.shape[0]
    with pytest.raises(Skip, match="there are none, or all of them are empty"):
        draw_pool(expression[:0], 300, "replacement", np.random.RandomState(2))


def test_empty_cells_are_left_out_and_counts_are_refused():
    cells = planted_cells()[:20].copy()
    cells.X = sparse.csr_matrix(cells.X.multiply(np.arange(20)[:, None] > 2))
    notes = []
    expression, labels = read_cells(cells, notes, "training")
    assert notes == ["3 of 20 training cells are empty and are left out"]
    assert expression.shape[0] == len(labels) == 17
    cells.X = cells.layers["counts"].copy()
    with pytest.raises(DataError, match="are these raw counts"):
        read_cells(cells, [], "training")
