"""Predictions made elsewhere: genes and labels of any order come right, nothing is filled, unfit files are refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness.contract.errors import DataError
from pertharness.worker.external.file import FileChoices
from pertharness.worker.external.read import read_prediction
from scipy import sparse

GENES = pd.Index(["A", "B", "C", "D"])
QUERIES = ["A+B", "C", "D"]
# Row per label, column per gene of GENES.
VALUES = {"A+B": [1.0, 2.0, 3.0, 4.0], "C": [0.5, 0.25, 0.125, 0.0625], "D": [5.0, 6.0, 7.0, 8.0]}


def make_file(path: Path, labels: list[str], genes: list[str], values: object, column: str = "perturbation") -> Path:
    adata = AnnData(
        X=values,
        obs=pd.DataFrame({column: labels}, index=[f"row{i}" for i in range(len(labels))]).astype(object),
        var=pd.DataFrame(index=pd.Index(genes, dtype=object)),
    )
    adata.write_h5ad(path)
    return path


def values_of(labels: list[str], genes: list[str]) -> np.ndarray:
    columns = [GENES.get_loc(gene) for gene in genes]
    return np.array([VALUES[label] for label in labels])[:, columns]


@settings(max_examples=20, deadline=None)
@given(genes=st.permutations(list(GENES)), labels=st.permutations(QUERIES))
def test_any_order_of_genes_and_rows_gives_the_same(
    genes: list[str], labels: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = make_file(tmp_path_factory.mktemp("any") / "p.h5ad", labels, genes, values_of(labels, genes))
    prediction, notes = read_prediction(path, GENES, QUERIES)
    assert list(prediction.var_names) == list(GENES)
    assert list(prediction.obs["perturbation"]) == QUERIES
    assert np.array_equal(prediction.X, [VALUES[query] for query in QUERIES])
    assert (prediction.uns["unanswered"], prediction.uns["missing_genes"], notes) == ({}, {}, [])


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix, lambda x: x.astype(np.float32)])
def test_sparse_and_single_precision_values_come_as_dense_double(tmp_path: Path, kind: object) -> None:
    path = make_file(tmp_path / "p.h5ad", QUERIES, list(GENES), kind(values_of(QUERIES, list(GENES))))  # type: ignore[operator]
    prediction, _ = read_prediction(path, GENES, QUERIES)
    assert prediction.X.dtype == np.float64
    assert np.array_equal(prediction.X, [VALUES[query] for query in QUERIES])


def test_labels_in_the_spellings_of_users_are_mapped(tmp_path: Path) -> None:
    labels = ["B+A", "C+ctrl", "ctrl+D", "ctrl"]
    values = np.vstack([values_of(QUERIES, list(GENES)), np.zeros(4)])
    prediction, notes = read_prediction(make_file(tmp_path / "p.h5ad", labels, list(GENES), values), GENES, QUERIES)
    assert list(prediction.obs["perturbation"]) == QUERIES
    assert np.array_equal(prediction.X, [VALUES[query] for query in QUERIES])
    assert notes == ["1 rows of p.h5ad are controls ('ctrl'): not scored"]


def test_missing_genes_are_columns_of_nan_and_others_left_aside(tmp_path: Path) -> None:
    path = make_file(tmp_path / "p.h5ad", QUERIES, ["C", "Z", "A"], np.insert(values_of(QUERIES, ["C", "A"]), 1, 9, 1))
    prediction, notes = read_prediction(path, GENES, QUERIES)
    assert np.array_equal(prediction.X[:, [0, 2]], values_of(QUERIES, ["A", "C"]))
    assert np.isnan(prediction.X[:, [1, 3]]).all()
    assert set(prediction.uns["missing_genes"]) == {"B", "D"}
    assert notes == ["1 genes of p.h5ad are not genes of the dataset: ignored"]


def test_missing_queries_are_unanswered_and_never_filled(tmp_path: Path) -> None:
    path = make_file(tmp_path / "p.h5ad", ["D"], list(GENES), values_of(["D"], list(GENES)))
    prediction, _ = read_prediction(path, GENES, QUERIES)
    assert list(prediction.obs["perturbation"]) == ["D"]
    assert prediction.n_obs == 1
    assert prediction.uns["unanswered"] == dict.fromkeys(["A+B", "C"], "not in the file of predictions")


def test_a_value_that_is_not_asked_for_may_be_nan(tmp_path: Path) -> None:
    """The unused row and the unused gene hold NaN; what is asked for does not."""
    values = np.array([[1.0, 2.0, 3.0, 4.0, np.nan], [np.nan] * 5])
    path = make_file(tmp_path / "p.h5ad", ["C", "Q"], [*GENES, "Z"], values)
    prediction, _ = read_prediction(path, GENES, ["C"])
    assert np.array_equal(prediction.X, values[:1, :4])


NAN, FULL = np.array([[1.0, np.nan, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]]), np.ones((1, 4))


@pytest.mark.parametrize(
    ("labels", "genes", "values", "words"),
    [
        (["C", "D"], list(GENES), NAN, ["nan", "perturbation 'C'", "gene 'B'", "row 'row0' of X"]),
        (["D", "C"], list(GENES), NAN[::-1], ["nan", "perturbation 'C'", "gene 'B'", "row 'row1' of X"]),
        (["C", "C"], list(GENES), NAN[::-1], ["nan", "perturbation 'C'", "gene 'B'", "row 'row1' of X"]),
        (["C"], list(GENES), np.full((1, 4), -np.inf), ["-inf", "gene 'A'"]),
        (["C"], ["A", "B", "A", "D"], FULL, ["duplicate gene 'A'"]),
        (["Q"], list(GENES), FULL, ["of the held-out perturbations", "'A+B', 'C', 'D'", "are 'Q'", "this dataset"]),
        (["C"], list("WXYZ"), FULL, ["the dataset's genes", "'A', 'B', 'C'", "'W', 'X', 'Y', 'Z'", "this dataset"]),
        (["C"], list("0123"), FULL, ["the dataset's genes", "does not name its genes", "--prediction-gene-column"]),
        (["C+C"], list(GENES), FULL, ["'C+C'", "has none of the held-out perturbations"]),
        (["C"], list(GENES), None, ["no X"]),
        (["C"], list(GENES), FULL * 1234, ["1234", "'C', gene 'A'", "look like counts"]),
        (["C"], list(GENES), np.array([[1.0, 2.0, 3.0, 10.0]]), ["10 for", "'C', gene 'D'"]),
        (["C"], list(GENES), np.array([[1.0, -50.0, 3.0, 4.0]]), ["-50 for", "'C', gene 'B'", "at least -9.22"]),
        (["C"], list(GENES), FULL > 0, ["the type 'bool'", "True", "expected numbers"]),
        (["C"], list(GENES), FULL * 1j, ["the type 'complex128'", "expected numbers"]),
        (["C"], list(GENES), sparse.csr_matrix(FULL * 1j), ["the type 'complex128'"]),
        (["C"], list(GENES), sparse.csr_matrix(FULL > 0), ["the type 'bool'"]),
    ],
)
@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_a_file_that_does_not_fit_is_refused_with_its_name_and_the_value(
    labels: list[str], genes: list[str], values: object, words: list[str], tmp_path: Path
) -> None:
    path = make_file(tmp_path / "p.h5ad", labels, genes, values)
    with pytest.raises(DataError) as error:
        read_prediction(path, GENES, QUERIES)
    for word in [repr(str(path)), *words]:
        assert word in str(error.value)


def test_several_rows_of_a_perturbation_are_cells_and_averaged(tmp_path: Path) -> None:
    """Of C: (1 + 2) / 2, (0 + 4) / 2, ...; the row of B+A is one of A+B."""
    values = np.array([[1.0, 0.0, 3.0, 4.0], [5.5, 5.0, 5.0, 5.0], [2.0, 4.0, 3.5, 0.0], [6.5, 5.0, 5.0, 5.0]])
    path = make_file(tmp_path / "p.h5ad", ["C", "A+B", "C", "B+A"], list(GENES), values)
    prediction, notes = read_prediction(path, GENES, QUERIES)
    assert list(prediction.obs["perturbation"]) == ["A+B", "C"]
    assert np.array_equal(prediction.X, [[6.0, 5.0, 5.0, 5.0], [1.5, 2.0, 3.25, 2.0]])
    assert notes == [
        "4 rows of p.h5ad are cells of 2 perturbations, 2 of each: their mean in log1p of counts per 10 000 is scored"
    ]


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_cells_are_averaged_in_double_whatever_they_are_stored_as(make: object, dtype: str, tmp_path: Path) -> None:
    values = np.random.default_rng(1).gamma(0.3, 1.0, (40, 4)).astype(dtype)
    values = values.astype("f4") if dtype == "f2" and make is not np.asarray else values  # scipy has no float16
    path = make_file(tmp_path / "p.h5ad", ["C", "D"] * 20, list(GENES), make(values))  # type: ignore[operator]
    prediction, _ = read_prediction(path, GENES, ["C", "D"])
    expected = [values[0::2].astype("f8").mean(axis=0), values[1::2].astype("f8").mean(axis=0)]
    np.testing.assert_allclose(prediction.X, expected, rtol=1e-14)


def test_a_gene_that_is_nan_in_every_row_is_not_predicted(tmp_path: Path) -> None:
    values = values_of(QUERIES, list(GENES))
    values[:, 1] = np.nan
    prediction, _ = read_prediction(make_file(tmp_path / "p.h5ad", QUERIES, list(GENES), values), GENES, QUERIES)
    assert prediction.uns["missing_genes"] == {"B": "NaN in every row of the file"}
    assert np.isnan(prediction.X[:, 1]).all()
    assert np.isfinite(prediction.X[:, [0, 2, 3]]).all()


def test_a_nan_beside_a_gene_of_nan_alone_is_named(tmp_path: Path) -> None:
    values = values_of(QUERIES, list(GENES))
    values[:, 0], values[1, 2] = np.nan, np.nan
    path = make_file(tmp_path / "p.h5ad", QUERIES, list(GENES), values)
    with pytest.raises(DataError, match="nan for the perturbation 'C', gene 'C'"):
        read_prediction(path, GENES, QUERIES)


def test_a_file_of_nan_alone_is_refused(tmp_path: Path) -> None:
    path = make_file(tmp_path / "p.h5ad", QUERIES, list(GENES), np.full((3, 4), np.nan))
    with pytest.raises(DataError, match="nan for the perturbation 'A\\+B', gene 'A'"):
        read_prediction(path, GENES, QUERIES)


@pytest.mark.parametrize("content", [b"", b"perturbation,A,B\n", None], ids=["empty", "a table", "absent"])
def test_an_unreadable_file_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "p.h5ad"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"p\.h5ad.*expected"):
        read_prediction(path, GENES, QUERIES)


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = make_file(tmp_path / "p.h5ad", ["C"], list(GENES), FULL)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"p\.h5ad"):
        read_prediction(path, GENES, QUERIES)


def test_labels_as_the_dataset_spells_them_are_understood(tmp_path: Path) -> None:
    path = make_file(tmp_path / "p.h5ad", ["A_B", "C"], list(GENES), values_of(["A+B", "C"], list(GENES)))
    prediction, _ = read_prediction(path, GENES, QUERIES, {"A_B": "A+B"})
    assert list(prediction.obs["perturbation"]) == ["A+B", "C"]


def test_values_a_little_below_0_are_allowed_and_counted(tmp_path: Path) -> None:
    values = np.array([[1.0, -0.5, -0.25, 4.0], [-9.0, 1.0, 1.0, 1.0]])
    path = make_file(tmp_path / "p.h5ad", ["C", "Q"], list(GENES), values)
    prediction, notes = read_prediction(path, GENES, ["C"])
    assert np.array_equal(prediction.X, values[:1])
    assert notes[1:] == ["2 of the values of p.h5ad are below 0, the lowest -0.5"]


def set_values(path: Path, values: object, **how: object) -> None:
    """Put values in place of X that anndata would not write."""
    with h5py.File(path, "a") as file:
        attributes = dict(file["X"].attrs)
        del file["X"]
        file.create_dataset("X", data=values, **how).attrs.update(attributes)


@pytest.mark.parametrize(
    ("values", "how", "words"),
    [
        (np.full((1, 4), "1.0", dtype=object), {"dtype": h5py.string_dtype()}, ["'object'", "first value: b'1.0'"]),
        (np.full((1, 4), b"1.0", dtype="S3"), {}, ["'bytes24'"]),
        (np.zeros((1, 4), "V8"), {}, ["'void64'"]),
        (np.zeros((1, 4), dtype=[("a", "f4"), ("b", "i4")]), {}, ["'void64'"]),
        (np.ones((1, 4), "u1"), {"dtype": h5py.enum_dtype({"on": 1, "off": 0}, "u1")}, ["'uint8'", "expected numbers"]),
        (np.ones((2, 4)), {}, ["X has the shape 2 x 4, obs has 1 rows and var 4"]),
        (np.ones(4), {}, ["2-dimensional"]),
        (h5py.Empty("f8"), {}, ["cannot be read as h5ad"]),
    ],
)
def test_values_that_are_no_matrix_of_numbers_are_refused(
    values: object, how: dict[str, object], words: list[str], tmp_path: Path
) -> None:
    path = make_file(tmp_path / "p.h5ad", ["C"], list(GENES), FULL)
    set_values(path, values, **how)
    with pytest.raises(DataError) as error:
        read_prediction(path, GENES, QUERIES)
    for word in [repr(str(path)), *words]:
        assert word in str(error.value)


@pytest.mark.parametrize("dtype", ["f2", ">f8", "i1", "g"])
def test_numbers_of_every_kind_are_read(dtype: str, tmp_path: Path) -> None:
    path = make_file(tmp_path / "p.h5ad", ["C"], list(GENES), FULL)
    set_values(path, np.full((1, 4), 2, dtype))
    prediction, _ = read_prediction(path, GENES, ["C"])
    assert prediction.X.dtype == np.float64
    assert np.array_equal(prediction.X, np.full((1, 4), 2.0))


def make_means(n_genes: int, seed: int = 0) -> tuple[pd.Index, np.ndarray, np.ndarray]:
    """Genes, the mean of the controls, and means of two perturbations that change every gene a little."""
    rng = np.random.default_rng(seed)
    y0 = rng.gamma(0.5, 1.0, n_genes)
    return pd.Index([f"G{i}" for i in range(n_genes)]), y0, y0 + rng.normal(0, 0.15, (2, n_genes)) * (y0 > 0.5)


def test_changes_from_the_control_are_refused_and_read_when_they_are_said_to_be(tmp_path: Path) -> None:
    genes, y0, means = make_means(200)
    path = make_file(tmp_path / "p.h5ad", ["C", "D"], list(genes), means - y0)
    with pytest.raises(DataError, match=r"changes from the control.*--prediction-kind change"):
        read_prediction(path, genes, ["C", "D"], y0=y0)
    prediction, notes = read_prediction(path, genes, ["C", "D"], y0=y0, choices=FileChoices(kind="change"))
    np.testing.assert_allclose(prediction.X, means, rtol=0, atol=1e-12)
    assert notes == ["the rows of p.h5ad are changes: the mean of the controls was added"]
    # Who insists is not corrected.
    assert np.array_equal(
        read_prediction(path, genes, ["C", "D"], y0=y0, choices=FileChoices(kind="mean"))[0].X, means - y0
    )


def test_changes_are_recognised_over_the_genes_that_the_file_has(tmp_path: Path) -> None:
    genes, y0, means = make_means(200)
    path = make_file(tmp_path / "p.h5ad", ["C", "D"], list(genes[50:150]), (means - y0)[:, 50:150])
    with pytest.raises(DataError, match="--prediction-kind change"):
        read_prediction(path, genes, ["C", "D"], y0=y0)


def test_means_that_are_said_to_be_changes_are_refused(tmp_path: Path) -> None:
    genes, y0, means = make_means(200)
    path = make_file(tmp_path / "p.h5ad", ["C", "D"], list(genes), means)
    assert np.array_equal(read_prediction(path, genes, ["C", "D"], y0=y0)[0].X, means)
    with pytest.raises(DataError, match="look like means, not changes"):
        read_prediction(path, genes, ["C", "D"], y0=y0, choices=FileChoices(kind="change"))


@pytest.mark.parametrize("n_below", [1, 60])
def test_values_below_0_do_not_make_means_changes(n_below: int, tmp_path: Path) -> None:
    genes, y0, means = make_means(200)
    means[:, np.argsort(y0)[:n_below]] -= 0.3
    path = make_file(tmp_path / "p.h5ad", ["C", "D"], list(genes), means)
    assert np.array_equal(read_prediction(path, genes, ["C", "D"], y0=y0)[0].X, means)


def test_no_change_at_all_is_a_change(tmp_path: Path) -> None:
    genes, y0, _ = make_means(200)
    path = make_file(tmp_path / "p.h5ad", ["C", "D"], list(genes), np.zeros((2, 200)))
    with pytest.raises(DataError, match=r"a row with the mean of the controls is 0\.00, and 1\.00"):
        read_prediction(path, genes, ["C", "D"], y0=y0)
