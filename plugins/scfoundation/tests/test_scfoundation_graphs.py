"""The graphs beside plain loops, and the two convolutions of the graph model beside a dense matrix."""

import numpy as np
import pytest
from scipy import sparse

torch = pytest.importorskip("torch", reason="torch is not installed: the plugin has its own environment")

from pertharness_scfoundation import graphs  # noqa: E402
from pertharness_scfoundation.graphs import NEIGHBOURS, Graph, coexpression_graph, ontology_graph  # noqa: E402
from pertharness_scfoundation.head import GraphHead, perturbed_in  # noqa: E402


def edges(graph):
    return {
        (int(source), int(target)): float(weight)
        for source, target, weight in zip(graph.source, graph.target, graph.weight, strict=True)
    }


def by_loops(weight, n_genes, threshold):
    """The strongest of each target, in the order of sources, ties by the first source; self included."""
    kept = {}
    for target in range(n_genes):
        strongest = sorted(range(n_genes), key=lambda source, target=target: (-weight(source, target), source))
        for source in strongest[:NEIGHBOURS]:
            if weight(source, target) > threshold:
                kept[source, target] = pytest.approx(weight(source, target), abs=1e-5)
    return kept


@pytest.mark.parametrize("block", [7, 1024])
def test_ontology_graph_is_that_of_loops(monkeypatch, block):
    monkeypatch.setattr(graphs, "BLOCK", block)
    rng = np.random.default_rng(0)
    terms = [frozenset(f"GO:{term}" for term in rng.choice(12, rng.integers(0, 6), replace=False)) for _ in range(60)]
    assert not all(terms)  # genes without terms have no edge, not even to themselves

    def jaccard(a, b):
        return len(terms[a] & terms[b]) / len(terms[a] | terms[b]) if terms[a] | terms[b] else 0.0

    made = ontology_graph(terms)
    assert edges(made) == by_loops(jaccard, len(terms), 0.1)
    assert np.bincount(made.target).max() == NEIGHBOURS


def test_a_tenth_of_shared_terms_is_no_edge():
    # 1 shared of 10 in all: 0.1 itself is dropped.
    first, second = frozenset("abcdef"), frozenset("fghij")
    assert len(first & second) / len(first | second) == 0.1
    assert edges(ontology_graph([first, second])) == {(0, 0): 1.0, (1, 1): 1.0}


@pytest.mark.parametrize("block", [8, 1024])
def test_coexpression_graph_is_that_of_loops(monkeypatch, block):
    monkeypatch.setattr(graphs, "BLOCK", block)
    monkeypatch.setattr(graphs, "CELLS", 11)
    rng = np.random.default_rng(1)
    values = rng.poisson(2.0, (50, 30)) + rng.poisson(3.0, (50, 1)) * (np.arange(30) < 25) * 1.0
    values[:, 3], values[:, 4] = 0, 2  # genes that do not vary: NaN in a correlation
    with np.errstate(invalid="ignore"):
        correlation = np.nan_to_num(np.abs(np.corrcoef(values.T)))
    made = coexpression_graph(sparse.csr_matrix(values, dtype=np.float32))
    expected = by_loops(lambda source, target: correlation[source, target], 30, 0.4)
    assert edges(made) == expected
    assert (3, 3) not in expected
    assert (5, 5) in expected
    assert len(expected) > 100


def test_normalised_adjacency_is_that_of_a_dense_matrix():
    graph = Graph(np.array([0, 1, 2, 2]), np.array([1, 0, 2, 0]), np.array([0.5, 0.25, 2.0, 1.0]), 4)
    dense = np.zeros((4, 4))
    dense[graph.target, graph.source] = graph.weight
    dense += np.diag(np.where(np.diag(dense) > 0, 0.0, 1.0))  # a loop that is there keeps its weight
    scale = 1 / np.sqrt(dense.sum(axis=1))
    np.testing.assert_allclose(graph.normalised().to_dense(), scale[:, None] * dense * scale, atol=1e-6)


@pytest.fixture
def head():
    ring = np.arange(6)
    coexpression = Graph(ring, np.roll(ring, 1), np.ones(6), 6)
    ontology = Graph(np.array([0, 1]), np.array([1, 0]), np.ones(2), 3)
    torch.manual_seed(0)
    return GraphHead(6, 3, 5, coexpression=coexpression, ontology=ontology, smooth_all=False).eval()


def test_propagation_reaches_the_first_cell_alone_or_all(head):
    embeddings = torch.randn(1, 6, 5, generator=torch.Generator().manual_seed(1)).repeat(3, 1, 1)
    expression, nobody = torch.zeros(3, 6), perturbed_in([[], [], []])
    with torch.no_grad():
        first = head(embeddings, expression, nobody)
        head.smooth_all = True
        everyone = head(embeddings, expression, nobody)
    assert torch.equal(first[1], first[2])
    assert float((first[0] - first[1]).abs().max()) > 1e-4
    torch.testing.assert_close(everyone, first[:1].expand(3, -1))


def test_long_rows_of_the_tables_are_rescaled_in_place(head):
    with torch.no_grad():
        head.emb_pos.weight.mul_(10)
        before = head.emb_pos.weight.clone()
        head(torch.zeros(1, 6, 5), torch.zeros(1, 6), perturbed_in([[]]))
    norms = head.emb_pos.weight.detach().norm(dim=1)
    assert bool((before.norm(dim=1) > 1).all())
    torch.testing.assert_close(norms, torch.ones(6))


def test_a_single_perturbed_cell_of_a_training_batch_counts_twice(head):
    head.train()
    embeddings, expression = torch.randn(2, 6, 5), torch.zeros(2, 6)
    one = head(embeddings, expression, perturbed_in([[0, 2], []]))  # a batch norm of one row would be an error
    assert bool(torch.isfinite(one).all())


def test_the_effects_of_two_genes_are_summed_before_they_are_fused(head):
    pair = perturbed_in([[0, 2], [], [1]])
    assert (pair.rows.tolist(), pair.cells.tolist(), pair.genes.tolist()) == ([0, 2], [0, 0, 1], [0, 2, 1])
    with torch.no_grad():
        table = head.perturbations()
        expected = head.pert_fuse(torch.stack([table[0] + table[2], table[1]]))
        torch.testing.assert_close(head._effects(pair, table), expected)
