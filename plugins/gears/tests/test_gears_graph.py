"""The GO graph by hand, its side files, and the embedding: nothing of cell-gears is needed."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
from pertharness import DataError, Skip
from pertharness_gears.embedding import embed_edges, spectral
from pertharness_gears.files import OF_DATASET, PATHS, SideFiles, find_files, read_genes
from pertharness_gears.graph import make_edges, open_ontology, read_edges, strongest
from scipy import sparse

# A and B share 1 of 3 terms; C and D share 1 of 10 = 0.1, which is dropped; nothing else is shared.
TERMS = {
    "A": {"t1", "t2"}, "B": {"t2", "t3"}, "C": {"t4"}, "D": {"t4", *(f"u{i}" for i in range(9))}, "E": {"t5"},
}  # fmt: skip


def _rows(edges):
    return [tuple(row) for row in edges.itertuples(index=False)]


def _loop(terms, genes):
    """The rule pair by pair."""
    pairs = [(a, b, len(terms[a] & terms[b]) / len(terms[a] | terms[b])) for a in genes for b in genes]
    return [pair for pair in pairs if pair[2] > 0.1]


def test_edges_are_shares_of_terms_above_a_tenth():
    expected = [
        ("B", "B", 1.0),
        ("B", "A", 1 / 3),
        ("A", "B", 1 / 3),
        ("A", "A", 1.0),
        ("C", "C", 1.0),
        ("D", "D", 1.0),
    ]
    assert _rows(make_edges(TERMS, ["B", "A", "C", "D"])) == expected


def test_edges_equal_a_loop_over_pairs(monkeypatch):
    rng = np.random.default_rng(0)
    genes = [f"g{i}" for i in range(60)]
    terms = {gene: {f"t{t}" for t in rng.integers(0, 40, rng.integers(1, 9))} for gene in genes}
    monkeypatch.setattr("pertharness_gears.graph.BLOCK", 7)
    assert _rows(make_edges(terms, genes)) == _loop(terms, genes)


def test_a_gene_without_terms_is_refused_by_name():
    with pytest.raises(DataError, match="'F' has no terms"):
        make_edges(TERMS, ["A", "F"])


def test_the_strongest_edges_of_a_target_tie_by_row():
    edges = pd.DataFrame({
        "source": ["a", "b", "c", "d", "a", "b"], "target": ["z", "z", "z", "z", "y", "y"],
        "importance": [0.2, 0.5, 0.5, 0.2, 0.3, 0.4],
    })  # fmt: skip
    kept = [("b", "y", 0.4), ("a", "y", 0.3), ("b", "z", 0.5), ("c", "z", 0.5), ("a", "z", 0.2)]
    assert _rows(strongest(edges, 3)) == kept


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "gene2go.json").write_text(json.dumps({gene: sorted(terms) for gene, terms in TERMS.items()}))
    rows = [f"{gene},{term}" for gene, terms in TERMS.items() for term in sorted(terms)]
    (tmp_path / "gene2go.csv").write_text("\n".join(["gene,term", *rows]))
    (tmp_path / "gene2go.pkl").write_bytes(pickle.dumps(TERMS))
    (tmp_path / "genes.pkl").write_bytes(pickle.dumps(["E", "A", "nobody"]))
    (tmp_path / "graph.csv").write_text("source,target,importance\nA,A,1\nA,B,0.25\nB,Q,0.5\n")
    return tmp_path


def test_without_a_graph_one_is_made_for_the_genes_of_the_data(folder):
    ontology = open_ontology(SideFiles(folder / "gene2go.pkl", None, None), ["B", "unknown", "A", "A"])
    assert ontology.genes == ["A", "B"]
    assert _rows(ontology.edges) == _loop(TERMS, ["A", "B"])


def test_a_list_of_genes_says_which_are_in_the_graph(folder):
    ontology = open_ontology(SideFiles(folder / "gene2go.pkl", folder / "genes.pkl", None), ["B"])
    assert ontology.genes == ["A", "E"]


def test_a_given_graph_is_taken_with_those_of_its_genes_that_have_terms(folder):
    ontology = open_ontology(SideFiles(folder / "gene2go.pkl", None, folder / "graph.csv"), ["C"])
    assert ontology.genes == ["A", "B"]
    assert _rows(ontology.edges) == [("A", "A", 1.0), ("A", "B", 0.25)]


class _Harm:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_of_anything_but_plain_containers_is_refused_and_not_run(tmp_path):
    for name, content in (("gene2go.pkl", {"A": _Harm(tmp_path / "harm")}), ("genes.pkl", [_Harm(tmp_path / "harm")])):
        (tmp_path / name).write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=r"gene2go.pkl cannot be read as a pickle .*: it names .*open"):
        open_ontology(SideFiles(tmp_path / "gene2go.pkl", None, None), ["A"])
    with pytest.raises(DataError, match=r"genes.pkl cannot be read as a pickle .*: it names .*open"):
        read_genes(tmp_path / "genes.pkl")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "cannot be read"), (pickle.dumps(TERMS)[:30], "cannot be read"), (b"<html>not found</html>", "web page")],
)
def test_half_a_pickle_and_a_web_page_are_refused(tmp_path, content, message):
    path = tmp_path / "gene2go.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_ontology(SideFiles(path, None, None), ["A"])


def test_genes_that_a_file_numbers_get_their_symbols(tmp_path):
    (tmp_path / "gene2go").write_text(
        "#tax_id\tGeneID\tGO_ID\tEvidence\tQualifier\n9606\t7\tt1\tIDA\tenables\n9606\t8\tt1\tIDA\tenables\n"
    )
    table = tmp_path / "hgnc_complete_set.txt"
    table.write_text("symbol\tentrez_id\nA\t7\nB\t8\n")
    side = find_files({}, {**PATHS, "gene2go": str(tmp_path / "gene2go"), "gene_table": str(table)})
    assert _rows(open_ontology(side, ["A", "B"]).edges) == [(a, b, 1.0) for a in "AB" for b in "AB"]


def test_a_list_of_genes_that_is_none_is_refused(folder):
    with pytest.raises(DataError, match="expected a list of gene symbols"):
        read_genes(folder / "gene2go.json")
    with pytest.raises(DataError, match=r"ends in none of \.pkl, \.json, \.csv"):
        read_genes(folder / "genes.txt")


def test_a_graph_without_weights_is_refused(folder):
    (folder / "bad.csv").write_text("source,target,importance\nA,B,much\n")
    (folder / "none.csv").write_text("source,target\nA,B\n")
    with pytest.raises(DataError, match="row 2: importance 'much'"):
        read_edges(folder / "bad.csv")
    with pytest.raises(DataError, match="no column 'importance'"):
        read_edges(folder / "none.csv")


def test_without_gene2go_it_is_a_skip_that_says_what_to_fetch():
    with pytest.raises(Skip, match="pertharness weights fetch gears"):
        find_files({}, PATHS)


def test_a_file_that_is_named_counts_before_those_that_were_fetched(folder):
    fetched = {
        "gene2go_all.pkl": folder / "gene2go.pkl", "essential_all_data_pert_genes.pkl": folder / "genes.pkl",
        "go_essential_all.csv": folder / "graph.csv",
    }  # fmt: skip
    all_fetched = SideFiles(folder / "gene2go.pkl", folder / "genes.pkl", folder / "graph.csv")
    assert find_files(fetched, PATHS) == all_fetched
    own = find_files(fetched, {**PATHS, "gene2go": str(folder / "gene2go.csv")})
    assert own == SideFiles(folder / "gene2go.csv", None, None)
    of_dataset = {**fetched, OF_DATASET: folder / "genes.csv"}
    assert find_files(of_dataset, PATHS) == SideFiles(folder / "genes.csv", None, None)
    assert find_files(of_dataset, {**PATHS, "gene2go": str(folder / "gene2go.csv")}) == own
    own_graph = find_files(fetched, {**PATHS, "graph": str(folder / "graph.csv")})
    assert own_graph == SideFiles(folder / "gene2go.pkl", None, folder / "graph.csv")


@pytest.mark.parametrize(
    ("path", "why"), [("gene2go.pkl", "not an absolute path"), ("/nowhere/gene2go.pkl", "not a file")]
)
def test_a_named_file_that_is_not_there_is_an_error(path, why):
    with pytest.raises(DataError, match=why):
        find_files({}, {**PATHS, "gene2go": path})


def test_the_embedding_of_two_genes_is_that_of_a_two_by_two_matrix():
    # A = [[1, w], [w, 1]], strength 2 + w (a loop counts twice), n - 1 = 1: the matrix [[3 + w, w], [w, 3 + w]] has the
    # eigenvalues 3 + 2w and 3 with the vectors (1, 1) and (1, -1) over sqrt 2.
    w = 0.5
    edges = pd.DataFrame({"source": ["A", "A", "B"], "target": ["A", "B", "B"], "importance": [1.0, w, 1.0]})
    table = embed_edges(edges, ["B", "control", "A"], 2)
    assert list(table.index) == ["B", "A"]
    first, second = np.sqrt((3 + 2 * w) / 2), np.sqrt(3 / 2)
    np.testing.assert_allclose(np.abs(table.to_numpy()), [[first, second], [first, second]])


def test_the_two_ways_to_eigenvectors_agree(monkeypatch):
    rng = np.random.default_rng(1)
    dense = np.triu(rng.random((40, 40)) * (rng.random((40, 40)) < 0.3))
    matrix = sparse.csr_matrix(dense + dense.T)
    direct = spectral(matrix, 3)
    monkeypatch.setattr("pertharness_gears.embedding.DENSE", 10)
    np.testing.assert_allclose(spectral(matrix, 3), direct, atol=1e-8)


def test_labels_that_share_nothing_with_the_graph_are_a_skip():
    edges = pd.DataFrame({"source": ["A"], "target": ["A"], "importance": [1.0]})
    with pytest.raises(Skip, match="none of the 2 labels"):
        embed_edges(edges, ["X", "Y"], 2)
