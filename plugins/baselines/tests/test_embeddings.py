"""Embeddings on data small enough to check by hand or by another way; what files may hold, and what they may not."""

import gzip

import anndata
import numpy as np
import pandas as pd
import pertharness_baselines as plugin
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness import CONTROL, DataError, Skip
from pertharness.testing import call_embed
from pertharness_baselines.components import decompose, leading_eigenpairs
from scipy import sparse

GENES = ["A", "B", "C", "D"]
TRAIN = AnnData(
    X=np.array([[1.0, 2, 3, 4], [2, 2, 3, 4], [1, 5, 3, 4]]),
    obs=pd.DataFrame({"perturbation": [CONTROL, "A", "B"]}, index=["0", "1", "2"]),
    var=pd.DataFrame(index=GENES),
)


def _embed(name, source=None, kind="perturbation", labels=None, references=None, seed=1, **params):
    asked = labels if labels is not None else GENES if kind == "gene" else [CONTROL, "A", "B", "C"]
    given = {"source": source, "references": references, "params": params, "seed": seed}
    return call_embed(plugin, TRAIN, asked, name=name, kind=kind, **given)


def _rows(table):
    return {label: row.tolist() for label, row in zip(table.index, table.to_numpy(), strict=True)}


# Eigenvectors and components.


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(2, 12), st.integers(1, 14))
def test_components_are_those_of_the_singular_value_decomposition(seed, n, m, k):
    matrix = np.random.default_rng(seed).normal(size=(n, m))
    scores, axes = decompose(matrix, k)
    centred = matrix - matrix.mean(axis=0)
    left, singular, right = np.linalg.svd(centred, full_matrices=False)
    assert scores.shape == (n, min(k, n, m))
    assert axes.shape == (m, min(k, n, m))
    kept = scores.shape[1]
    np.testing.assert_allclose(scores @ axes.T, (left[:, :kept] * singular[:kept]) @ right[:kept], rtol=0, atol=1e-7)
    np.testing.assert_allclose((scores**2).sum(axis=0), singular[:kept] ** 2, rtol=0, atol=1e-9)


def test_components_of_constant_data_are_zeros():
    scores, axes = decompose(np.ones((3, 5)), 2)
    assert not scores.any()
    assert np.isfinite(axes).all()


def test_the_largest_magnitude_counts_and_signs_are_fixed():
    values, vectors = leading_eigenpairs(np.diag([1.0, -3.0, 2.0]), 2)
    assert values.tolist() == [-3.0, 2.0]
    assert vectors.T.tolist() == [[0, 1, 0], [0, 0, 1]]


def test_a_large_sparse_matrix_gives_what_a_small_one_would():
    values = np.random.default_rng(0).permutation(np.r_[-9.0, 8.0, 7.0, np.linspace(0, 1, 2500)])
    found, vectors = leading_eigenpairs(sparse.diags(values).tocsr(), 3)
    np.testing.assert_allclose(found, [-9, 8, 7], rtol=0, atol=1e-10)
    assert np.abs(vectors).argmax(axis=0).tolist() == [list(values).index(value) for value in (-9, 8, 7)]
    again = leading_eigenpairs(sparse.diags(values).tocsr(), 3)[1]
    assert np.array_equal(vectors, again)


def test_rows_of_perturbations_are_those_of_their_genes():
    genes, perturbations = _embed("pca", kind="gene", k=2), _embed("pca", k=2)
    assert list(perturbations.index) == ["A", "B", "C"]
    assert perturbations.equals(genes.loc[perturbations.index])


def test_another_screen_is_decomposed_whole_and_its_control_has_a_row():
    rng = np.random.default_rng(0)
    labels = ["B", CONTROL, "A", "Z"]
    other = AnnData(
        X=rng.normal(size=(4, 6)), obs=pd.DataFrame({"perturbation": labels}, index=list("0123")),
        var=pd.DataFrame(index=["A", "x1", "x2", "x3", "D", "x4"]),
    )  # fmt: skip
    table = _embed("transfer", references={"other": other}, k=2)
    centred = other.X - other.X.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred)
    expected = (left[:, :2] * singular[:2])[[1, 2, 0]]
    assert list(table.index) == [CONTROL, "A", "B"]
    np.testing.assert_allclose(np.abs(table), np.abs(expected), rtol=0, atol=1e-9)
    assert list(_embed("transfer", kind="gene", references={"other": other}).index) == ["A", "D"]


def test_a_screen_without_shared_perturbations_is_skipped():
    other = AnnData(X=np.eye(3), obs=pd.DataFrame({"perturbation": [CONTROL, "X", "Y"]}, index=list("012")))
    with pytest.raises(Skip, match="the screen 'other' shares no perturbation with the task"):
        _embed("transfer", references={"other": other})
    with pytest.raises(DataError, match="P=transfer:NAME"):
        _embed("transfer")


# Embeddings that know nothing.


def test_random_rows_depend_on_the_seed_and_the_kind():
    one = _embed("random", k=3)
    assert one.shape == (4, 3)
    assert one.equals(_embed("random", k=3))
    assert not np.isin(_embed("random", k=3, seed=2), one).any()
    assert not np.isin(_embed("random", k=3, kind="gene"), one).any()


def test_identity_and_zero_are_what_they_say():
    assert np.array_equal(_embed("identity"), np.eye(4))
    assert _rows(_embed("zero", kind="gene")) == {gene: [0.0] for gene in GENES}


@pytest.mark.parametrize("name", ["pca", "transfer", "random", "spectral", "membership"])
def test_a_number_of_dimensions_below_one_is_refused(name, tmp_path):
    with pytest.raises(DataError, match=f"{name}: expected k of at least 1, got 0"):
        _embed(name, tmp_path / "x.csv", k=0)


@pytest.mark.parametrize("name", ["table", "spectral", "membership"])
def test_an_embedding_of_a_file_says_that_it_wants_one(name):
    with pytest.raises(DataError, match=f"expected a file, as in P={name}:"):
        _embed(name)


# Tables.

WANTED = {CONTROL: [0.1, 1e-300], "A": [1 / 3, 2.0], "C": [-5.0, 3.0]}


def _write_tables(folder):
    names, values = ["A", "nobody", "C", "ctrl"], np.array([[1 / 3, 2.0], [0, 0], [-5, 3], [0.1, 1e-300]])
    frame = pd.DataFrame(values, index=names)
    frame.to_csv(folder / "rows.csv")
    frame.to_csv(folder / "rows.tsv", sep="\t", index_label="gene")
    frame.T.to_csv(folder / "columns.tsv", sep="\t", index=False)
    with gzip.open(folder / "rows.csv.gz", "wt") as file:
        file.write(frame.to_csv(index_label="a gene"))
    np.savez(folder / "arrays.npz", labels=np.array(names), values=values)
    obs = pd.DataFrame(index=names)
    anndata.AnnData(X=values, obs=obs).write_h5ad(folder / "dense.h5ad")
    anndata.AnnData(X=sparse.csr_matrix(values), obs=obs).write_h5ad(folder / "sparse.h5ad")


@pytest.mark.parametrize(
    "name", ["rows.csv", "rows.tsv", "columns.tsv", "rows.csv.gz", "arrays.npz", "dense.h5ad", "sparse.h5ad"]
)
def test_a_table_is_read_from_any_of_its_forms_to_the_last_bit(name, tmp_path):
    _write_tables(tmp_path)
    assert _rows(_embed("table", tmp_path / name)) == WANTED


def test_numbers_and_na_may_be_labels(tmp_path):
    (tmp_path / "t.csv").write_text("gene,d1\nNA,1\n7157,2\n")
    assert _rows(_embed("table", tmp_path / "t.csv", labels=["NA", "7157"])) == {"NA": [1.0], "7157": [2.0]}
    (tmp_path / "t.csv").write_text("gene,d1\n7157,2\n672,3\n")
    assert _rows(_embed("table", tmp_path / "t.csv", labels=["7157"])) == {"7157": [2.0]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gene,d1\nA,1\nB,2\nA,3\n", "t.csv: the label 'A' has more than one row"),
        ("A,A,B\n1,2,3\n", "the label 'A' has more than one row"),
        ("gene,d1\nctrl,1\ncontrol,2\n", "the label 'control' has more than one row"),
        ("gene,d1,d2\nA,1,2\nB,three,4\n", "'three' in row 3, column 2, is not a number; leave out columns of text"),
        ("gene,d1\nA,1\nB,\0x\n", r"for 'B', dimension 1|in row 3, column 2"),
        ("gene,d1,d2\nA,1,2\nB,,4\n", r"no finite numbers: 1 of 4 values \(first: nan for 'B', dimension 1"),
        ("gene,d1\nA,inf\n", "no finite numbers"),
        ("gene,d1\nA,1,2\nB,1,2\n", "the header has 2 columns, the rows have 3"),
        ("gene\nA\n", "no column but that of the labels"),
        ("gene,d1\n", "t.csv has a header and no rows; expected"),
        ("", "t.csv is empty"),
        ("gene,d1\nA,1\nB,2,3\n", "cannot be read as a table: line 3 has 3 columns, the header has 2"),
        ("gene;d1\nA;1,5\n", "separated by semicolons .*; expected commas between columns, and a point"),
        ("gene\td1\nA\t1\n", "separated by tabs .*; a table with tabs is named .tsv"),
        ('gene,d1\n"A,1\n', "cannot be read as a table"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(text, message, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        _embed("table", tmp_path / "t.csv")


def test_a_table_of_other_genes_is_skipped_with_labels_of_both(tmp_path):
    (tmp_path / "t.csv").write_text("gene,d1\nENSG1,1\nENSG2,2\n")
    with pytest.raises(Skip, match=r"there: 'ENSG1', 'ENSG2', ...; requested: 'A'"):
        _embed("table", tmp_path / "t.csv")


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.npz", "t.h5ad"])
def test_a_file_of_another_kind_or_none_is_an_error(name, tmp_path):
    with pytest.raises(DataError, match=name):
        _embed("table", tmp_path / name)
    (tmp_path / name).write_bytes(b"\x00\x89\xff not what the name says")
    with pytest.raises(DataError, match=name):
        _embed("table", tmp_path / name)
    with pytest.raises(DataError, match=r"'t.xlsx' ends in none of .csv, .tsv"):
        _embed("table", tmp_path / "t.xlsx")


@pytest.mark.parametrize(
    "arrays", [{"values": np.eye(2)}, {"labels": ["A"], "values": np.eye(2)}, {"labels": ["A"], "values": [["x"]]},
               {"labels": ["A"], "values": [1.0]}, {"labels": np.array(["A"], dtype=object), "values": np.eye(1)}]
)  # fmt: skip
def test_arrays_that_do_not_fit_are_an_error(arrays, tmp_path):
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(DataError, match=r"t\.npz"):
        _embed("table", tmp_path / "t.npz")


# Graphs.


def test_a_graph_s_embedding_is_its_eigenvectors_with_loops_counted_twice(tmp_path):
    # Weights A-B 0.5 (0.2 in the other direction), loop of A 1.0, B-D 0.3. The larger weight counts.
    (tmp_path / "g.csv").write_text("importance,target,source\n0.5,B,A\n0.2,A,B\n1,A,A\n0.3,D,B\n")
    adjacency = np.array([[1.0, 0.5, 0], [0.5, 0, 0.3], [0, 0.3, 0]])
    strength = np.array([0.5 + 2 * 1.0, 0.5 + 0.3, 0.3])
    values, vectors = np.linalg.eigh(adjacency + np.diag(strength / 2))
    order = np.argsort(-np.abs(values))[:2]
    table = _embed("spectral", tmp_path / "g.csv", labels=["A", "B", "D", "E"])
    assert list(table.index) == ["A", "B", "D"]
    found = table.to_numpy()
    np.testing.assert_allclose(np.abs(found), np.abs(vectors[:, order]) * np.sqrt(np.abs(values[order])), atol=1e-12)
    assert (found[np.abs(found).argmax(axis=0), [0, 1]] > 0).all()


def test_direction_and_order_of_edges_do_not_matter(tmp_path):
    edges = [("A", "B", 0.5), ("B", "C", 0.7), ("D", "A", 0.2), ("C", "D", 0.1)]
    tables = []
    for turned in (edges, [(b, a, w) for a, b, w in edges[::-1]], [*edges, *((b, a, w) for a, b, w in edges)]):
        frame = pd.DataFrame(turned, columns=["source", "target", "weight"])
        frame.to_csv(tmp_path / "g.csv")
        tables.append(_embed("spectral", tmp_path / "g.csv", kind="gene", k=3))
    for other in tables[1:]:
        np.testing.assert_allclose(other, tables[0], rtol=0, atol=1e-12)


def test_a_gene_whose_weights_are_all_0_has_no_row(tmp_path):
    (tmp_path / "g.csv").write_text("source,target,weight\nA,B,0.5\nC,A,0\nC,C,0\n")
    # C is one of the three genes: A + D has 0.5 / 2 on the diagonal, eigenvalues 0.75 and -0.25 for (1, 1) and (1, -1).
    found = _rows(_embed("spectral", tmp_path / "g.csv"))
    half = np.sqrt([0.75 / 2, 0.25 / 2])
    assert list(found) == ["A", "B"]
    np.testing.assert_allclose(np.abs([found["A"], found["B"]]), [half, half], rtol=0, atol=1e-12)
    (tmp_path / "g.csv").write_text("source,target,weight\nX,Y,0.5\nC,X,0\n")
    with pytest.raises(Skip, match="shares no perturbation with the task"):
        _embed("spectral", tmp_path / "g.csv")


def test_a_gene_apart_from_those_of_the_dimensions_has_no_row(tmp_path):
    (tmp_path / "g.csv").write_text("source,target,weight\nA,B,0.9\nC,D,0.1\n")
    # Eigenvalues 0.9 / 3 +- 0.9 of A and B, 0.1 / 3 +- 0.1 of C and D: the third largest is the first of the latter.
    found = {k: list(_embed("spectral", tmp_path / "g.csv", kind="gene", k=k).index) for k in (2, 3)}
    assert found == {2: ["A", "B"], 3: ["A", "B", "C", "D"]}
    (tmp_path / "m.csv").write_text("gene,term\nA,t1\nB,t1\nC,t2\nD,t2\n")
    # Two singular values of 1, one for each term.
    found = {k: _embed("membership", tmp_path / "m.csv", kind="gene", k=k) for k in (1, 2)}
    assert (np.linalg.norm(found[1], axis=1) > 1e-6).all()
    assert list(found[2].index) == ["A", "B", "C", "D"]


def test_a_graph_has_at_most_as_many_dimensions_as_genes(tmp_path):
    (tmp_path / "g.csv").write_text("source,target,weight\nA,B,1\n")
    assert _embed("spectral", tmp_path / "g.csv", k=2).shape == (2, 2)
    with pytest.raises(DataError, match="k is 3, the graph has 2 genes"):
        _embed("spectral", tmp_path / "g.csv", k=3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A,B,-0.5\n", r"the edge 'A' -> 'B' \(row 2, weight -0.5\) has a negative weight; expected similarities"),
        ("A,B,1\nA,B,1\n", r"'A' -> 'B' \(row 3, weight 1\) is a duplicate; keep one"),
        ("A,B,\nB,C,1\n", "has a weight that is no finite number"),
        ("A,B,much\n", "'much' in row 2"),
        ("A,B,1\nA,,1\n,B,1\n", r"g.csv: row 3 names no source or no target \(rows without: 2\)"),
        ("A,B,0\n", "all weights are 0"),
    ],
)
def test_what_is_wrong_with_a_graph_is_said(text, message, tmp_path):
    (tmp_path / "g.csv").write_text("source,target,importance\n" + text)
    with pytest.raises(DataError, match=message):
        _embed("spectral", tmp_path / "g.csv")


def test_a_file_without_edges_is_no_graph(tmp_path):
    (tmp_path / "g.csv").write_text("a,b,c\nA,B,1\n")
    with pytest.raises(DataError, match="no column 'source'"):
        _embed("spectral", tmp_path / "g.csv")
    (tmp_path / "g.csv").write_text("source,target,c\nA,B,1\n")
    with pytest.raises(DataError, match="no column 'importance or weight'"):
        _embed("spectral", tmp_path / "g.csv")


# Memberships.

PAIRS = [("A", "t1"), ("A", "t2"), ("B", "t1"), ("C", "t3"), ("C", "t2"), ("E", "t1"), ("A", "t1")]


@pytest.mark.parametrize("form", ["list", "matrix", "wide"])
def test_memberships_are_decomposed_after_normalising(form, tmp_path):
    binary = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1], [1, 0, 0]], dtype=float)
    if form == "wide":  # more terms than genes
        binary = np.hstack([binary, np.eye(4)])
    if form == "list":
        (tmp_path / "m.csv").write_text("gene,term\n" + "".join(f"{gene},{term}\n" for gene, term in PAIRS))
    else:
        pd.DataFrame(binary, index=list("ABCE")).to_csv(tmp_path / "m.csv")
    left, singular, _ = np.linalg.svd(binary / np.sqrt(np.outer(binary.sum(axis=1), binary.sum(axis=0))))
    table = _embed("membership", tmp_path / "m.csv", labels=["A", "B", "C", "D", "E"], k=2)
    assert list(table.index) == ["A", "B", "C", "E"]
    np.testing.assert_allclose(np.abs(table), np.abs(left[:, :2] * np.sqrt(singular[:2])), rtol=0, atol=1e-9)


def test_a_gene_in_no_term_has_no_row(tmp_path):
    # A linear model would answer a row of zeros with the mean of the training data, as if it knew the gene.
    rows = "gene,t1,t2\nA,1,0\nB,1,1\nC,0,0\n"
    (tmp_path / "m.csv").write_text(rows)
    found = _embed("membership", tmp_path / "m.csv")
    assert list(found.index) == ["A", "B"]
    (tmp_path / "m.csv").write_text(rows.replace("C,0,0\n", ""))
    np.testing.assert_allclose(found, _embed("membership", tmp_path / "m.csv"), rtol=0, atol=1e-12)
    with pytest.raises(Skip, match="shares no perturbation with the task"):
        _embed("membership", tmp_path / "m.csv", labels=["C"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gene,t1,t2\nA,1,-1\n", "-1.0 for 'A' in 't2'; expected memberships from 0 up"),
        ("gene,t1,t2\nA,1,\n", "nan for 'A' in 't2'"),
        ("gene,t1,t2\nA,1,0\nA,0,1\n", "'A' has more than one row"),
        ("gene,t1,t2\nA,1,0\nA,0,0\n", "'A' has more than one row"),
        ("gene,t1,t2\nA,0,0\nB,0,0\n", "all memberships are 0"),
        ("gene,t1,t2\nA,1,0\n,1,1\n", "row 3 names no gene"),
        ("gene,term\nA,t1\nB,\n", "row 3 names no gene or no term"),
    ],
)
def test_what_is_wrong_with_memberships_is_said(text, message, tmp_path):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        _embed("membership", tmp_path / "m.csv")
