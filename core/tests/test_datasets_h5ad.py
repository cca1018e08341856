"""Any h5ad: read as users have it, or refused with the value and the remedy."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from pertharness.contract.errors import DataError
from pertharness.data.canonical import check_dataset, control_mean, describe_perturbations, pseudobulk, read, write
from pertharness.data.expression import layers_of
from pertharness.datasets import describe, load_dataset
from scipy import sparse

LABELS = ["ctrl", "B+A", "A+ctrl", "ctrl", "ctrl+B", "A+ctrl", "B+A", "ctrl+B"]
COUNTS = np.array(
    [[1, 2, 7], [4, 4, 2], [8, 1, 1], [2, 2, 6], [1, 9, 0], [6, 3, 1], [5, 5, 0], [0, 10, 0]], dtype=np.float32
)
LOGS = np.log1p(COUNTS * 1000).astype(np.float32)  # every row has 10 counts


def make_adata(matrix: object = None, labels: list[str] | None = None, **obs: object) -> anndata.AnnData:
    table = pd.DataFrame(
        {"condition": labels or LABELS, **obs}, index=[f"cell{i}" for i in range(len(labels or LABELS))]
    )
    var = pd.DataFrame(index=["A", "B", "C"])
    return anndata.AnnData(X=LOGS if matrix is None else matrix, obs=table, var=var)


def load(adata: anndata.AnnData, folder: Path, **params: object) -> anndata.AnnData:
    path = Path(tempfile.mkdtemp(dir=folder), "mine.h5ad")  # a dataset on disk keeps its file open
    adata.write_h5ad(path)
    return load_dataset("h5ad", path, params).to_memory()


def message_of(adata: anndata.AnnData, folder: Path, **params: object) -> str:
    with pytest.raises(DataError) as error:
        load(adata, folder, **params)
    assert str(error.value).startswith("dataset 'mine': ")
    return str(error.value)


def notes_of(adata: anndata.AnnData) -> str:
    return str(adata.uns["pertharness"]["notes"])


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_a_file_of_cells_becomes_canonical_and_says_how(form: object, tmp_path: Path) -> None:
    adata = make_adata(form(LOGS), ncounts=np.full(8, 10), cell_type="K562")  # type: ignore[operator]
    adata = load(adata, tmp_path)
    check_dataset(adata, "mine")
    assert list(adata.obs["perturbation"]) == ["control", "A+B", "A", "control", "B", "A", "A+B", "B"]
    assert list(adata.obs["label_given"]) == LABELS
    assert list(adata.obs_names) == [f"cell{i}" for i in range(8)]
    assert adata.obs["total_counts"].tolist() == [10.0] * 8
    assert set(adata.obs["context"]) == {"K562"}
    values = adata.X if isinstance(adata.X, np.ndarray) else adata.X.toarray()
    assert np.array_equal(values, LOGS)
    fields = dict(adata.uns["pertharness"])
    assert fields.pop("notes").count("\n") == 4
    assert fields == {"name": "mine", "level": "cells", "scale": "log1p CP10k", "origin": "mine.h5ad"}
    for words in ("'K562' of obs['cell_type']", "control 'ctrl'", "joined by '+'", "level: cells", "taken as log1p"):
        assert words in notes_of(adata)


def test_a_canonical_file_is_read_back_the_same(tmp_path: Path) -> None:
    first = load(make_adata(), tmp_path, modality="crispri")
    write(first, tmp_path / "again.h5ad")
    again = load_dataset("h5ad", tmp_path / "again.h5ad", {}).to_memory()
    assert np.array_equal(first.X, again.X)
    assert again.uns["pertharness"]["modality"] == "crispri"
    assert list(again.obs["perturbation"]) == list(first.obs["perturbation"])


def test_a_pseudobulk_is_recognised_and_keeps_its_layers_and_precision(tmp_path: Path) -> None:
    adata = make_adata(LOGS[:4].astype(np.float64) / 3, ["ctrl", "A", "B", "B+A"], n_cells=[9, 8, 7, 6])
    adata.layers["half_a"] = np.array([[np.nan] * 3] * 3 + [[1.0, 2.0, 3.0]])
    adata = load(adata, tmp_path)
    assert adata.uns["pertharness"]["level"] == "pseudobulk"
    assert adata.X.dtype == np.float64
    assert np.array_equal(adata.X, LOGS[:4].astype(np.float64) / 3)
    assert adata.obs["n_cells"].tolist() == [9, 8, 7, 6]
    assert list(layers_of(adata)) == ["half_a"]


def test_counts_are_refused_with_the_flag_and_normalised_with_it(tmp_path: Path) -> None:
    message = message_of(make_adata(COUNTS), tmp_path)
    assert "X holds only integers: raw counts, the largest 10.0" in message
    assert "--normalise" in message
    adata = load(make_adata(sparse.csr_matrix(COUNTS)), tmp_path, normalise=True)
    np.testing.assert_allclose(adata.X.toarray(), LOGS, rtol=1e-6)
    assert np.array_equal(adata.layers["counts"].toarray(), COUNTS)
    assert adata.obs["total_counts"].tolist() == [10.0] * 8
    assert "sums over the genes of the file" in notes_of(adata)


def test_totals_over_all_genes_are_used_where_the_file_has_them(tmp_path: Path) -> None:
    adata = load(make_adata(COUNTS, nCount_RNA=np.full(8, 20)), tmp_path, normalise=True)
    np.testing.assert_allclose(adata.X, np.log1p(COUNTS * 500), rtol=1e-6)  # 10 000 / 20
    # Totals below the sum over the genes of the file cannot be totals of the counts.
    adata = load(make_adata(COUNTS, total_counts=np.full(8, 5)), tmp_path, normalise=True)
    np.testing.assert_allclose(adata.X, LOGS, rtol=1e-6)


def test_linear_values_are_normalised_when_declared(tmp_path: Path) -> None:
    message = message_of(make_adata(COUNTS * 1.5), tmp_path)
    assert "10.5 in row 'cell0', gene 'C'" in message
    assert "9.21" in message
    assert "--scale counts --normalise" in message
    adata = load(make_adata(COUNTS * 1.5), tmp_path, normalise=True, scale="counts")
    np.testing.assert_allclose(adata.X, LOGS, rtol=1e-6)
    assert layers_of(adata) == {}


def test_declared_and_found_scale_must_agree(tmp_path: Path) -> None:
    assert "not --scale log1p; use --normalise" in message_of(make_adata(COUNTS), tmp_path, scale="log1p")
    assert "leave it out if these are log1p" in message_of(make_adata(), tmp_path, normalise=True)
    assert "declared as --scale counts" in message_of(make_adata(COUNTS * 1.5), tmp_path, scale="counts")
    assert "(declared;" in notes_of(load(make_adata(), tmp_path, scale="log1p"))


def test_another_layer_can_be_taken_and_is_offered(tmp_path: Path) -> None:
    adata = make_adata(LOGS - 3)
    adata.layers["counts"], adata.layers["lognorm"] = COUNTS, LOGS
    message = message_of(adata, tmp_path)
    assert "below" not in message
    assert "z-scores" in message
    assert "--layer ('counts', 'lognorm')" in message
    taken = load(adata, tmp_path, layer="lognorm")
    assert np.array_equal(taken.X, LOGS)
    assert list(layers_of(taken)) == ["counts"]
    normalised = load(adata, tmp_path, layer="counts", normalise=True)
    np.testing.assert_allclose(normalised.X, LOGS, rtol=1e-6)
    assert "no layer 'raw' (--layer)" in message_of(adata, tmp_path, layer="raw")


@pytest.mark.parametrize(("value", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (-2.0, "-2.0"), (99.5, "99.5")])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_a_bad_value_is_named_with_row_and_gene(value: float, shown: str, form: object, tmp_path: Path) -> None:
    matrix = LOGS.copy()
    matrix[5, 1] = value
    message = message_of(make_adata(form(matrix)), tmp_path)  # type: ignore[operator]
    assert f"X has {shown} in row 'cell5', gene 'B'" in message


def test_integers_as_texts_are_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "mine.h5ad"
    make_adata().write_h5ad(path)
    with h5py.File(path, "a") as file:
        del file["X"]
        file["X"] = np.array([[str(int(count)) for count in row] for row in COUNTS], dtype=h5py.string_dtype())
        file["X"].attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
    with pytest.raises(DataError, match=r"X has the type 'object' \(first value: '1'\).*astype\('float32'\)"):
        load_dataset("h5ad", path, {})


def test_a_cell_without_counts_cannot_be_normalised(tmp_path: Path) -> None:
    counts = COUNTS.copy()
    counts[3] = 0
    assert "no counts in row 'cell3'" in message_of(make_adata(counts), tmp_path, normalise=True)


def test_duplicate_genes_are_named_with_the_remedy(tmp_path: Path) -> None:
    adata = make_adata()
    adata.var = pd.DataFrame({"symbol": ["A", "B", "C"]}, index=["A", "B", "A"])
    with pytest.warns(UserWarning, match="Variable names are not unique"):
        adata.obs_names_make_unique()
        adata = anndata.AnnData(X=LOGS, obs=adata.obs, var=adata.var)
    message = message_of(adata, tmp_path)
    for words in ("1 gene names", "'A'", "--gene-column ('symbol')", "var_names_make_unique"):
        assert words in message
    assert list(load(adata, tmp_path, gene_column="symbol").var_names) == ["A", "B", "C"]


def test_ensembl_ids_give_way_to_symbols(tmp_path: Path) -> None:
    adata = make_adata()
    ids = ["ENSG00000000003.15", "ENSG00000000005", "ENSG00000000419"]
    adata.var = pd.DataFrame({"gene_name": ["A", "B", "A"]}, index=ids)
    adata = load(adata, tmp_path)
    # The second gene of the symbol A keeps the name of the file.
    assert list(adata.var_names) == ["A", "B", "ENSG00000000419"]
    assert list(adata.var["ensembl_id"]) == ["ENSG00000000003", "ENSG00000000005", "ENSG00000000419"]
    assert "var['gene_name']; 1 genes keep" in notes_of(adata)


def test_ensembl_ids_beside_symbols_are_kept(tmp_path: Path) -> None:
    adata = make_adata()
    adata.var["gene_ids"] = ["ENSG00000000003", "ENSG00000000005", "ENSG00000000419"]
    assert list(load(adata, tmp_path).var["ensembl_id"]) == list(adata.var["gene_ids"])
    adata.var["mine"] = ["x", "y", "z"]
    assert list(load(adata, tmp_path, ensembl_column="mine").var["ensembl_id"]) == ["x", "y", "z"]
    assert "no column 'theirs' (--ensembl-column)" in message_of(adata, tmp_path, ensembl_column="theirs")
    assert "no column 'theirs' (--gene-column)" in message_of(adata, tmp_path, gene_column="theirs")


def test_a_context_without_controls_is_told_where_they_are(tmp_path: Path) -> None:
    adata = make_adata()
    is_control = adata.obs["condition"] == "ctrl"
    adata.obs["cell_line"] = np.where(is_control | (np.arange(adata.n_obs) % 2 == 0), "K562", "RPE1")
    message = message_of(adata, tmp_path, context="RPE1")
    assert "the context 'RPE1' has no control cells; obs['cell_line'] has them in 'K562'" in message
    assert "--context-column none" in message
    chosen = load(adata, tmp_path, context="K562")
    assert f"left out: {adata.n_obs - chosen.n_obs} rows of other contexts ('RPE1')" in notes_of(chosen)


def test_a_second_context_is_chosen_or_pooled_by_flag(tmp_path: Path) -> None:
    adata = make_adata(cell_line=["K562"] * 6 + ["RPE1"] * 2)
    message = message_of(adata, tmp_path)
    assert "obs['cell_line'] has 2 values: 'K562', 'RPE1'" in message
    assert "--context" in message
    chosen = load(adata, tmp_path, context="K562")
    assert chosen.n_obs == 6
    assert set(chosen.obs["context"]) == {"K562"}
    pooled = load(adata, tmp_path, context_column="none")
    assert pooled.n_obs == 8
    assert "context" not in pooled.obs
    assert "no 'HeLa' (--context)" in message_of(adata, tmp_path, context="HeLa")
    assert "no column 'line' (--context-column)" in message_of(adata, tmp_path, context_column="line")
    adata.obs["celltype"] = ["x", "y"] * 4
    assert "'cell_line', 'celltype'; choose one with --context-column" in message_of(adata, tmp_path)
    assert "no column has contexts" in message_of(make_adata(), tmp_path, context="K562")


def test_labels_that_collide_are_pooled_under_one_label(tmp_path: Path) -> None:
    labels = ["ctrl", "B+A", "A+B", "ctrl", "B", "B", "A", "A"]
    assert "--merge-labels" in message_of(make_adata(labels=labels), tmp_path)
    adata = load(make_adata(labels=labels), tmp_path, merge_labels=True)
    assert list(adata.obs["label_given"]) == ["ctrl", "B+A", "B+A", "ctrl", "B", "B", "A", "A"]
    assert "pooled with another spelling of the same targets: 'A+B'" in notes_of(adata)


def test_rows_of_no_perturbation_are_left_out_and_counted(tmp_path: Path) -> None:
    labels = ["ctrl", "B+A", "nan", "ctrl", "ctrl+B", "A+ctrl", "multiplet", "nan"]
    adata = load(make_adata(sparse.csr_matrix(COUNTS), labels), tmp_path, normalise=True)
    kept = [0, 1, 3, 4, 5]
    assert list(adata.obs_names) == [f"cell{i}" for i in kept]
    np.testing.assert_allclose(adata.X.toarray(), LOGS[kept], rtol=1e-6)
    assert "left out: 3 rows labelled 'nan', 'multiplet': no perturbation" in notes_of(adata)
    missing = make_adata(labels=labels)
    missing.obs["condition"] = pd.Categorical([None if label == "nan" else label for label in labels])
    assert "left out: 3 rows labelled 'multiplet' or without a label: no perturbation" in notes_of(
        load(missing, tmp_path)
    )


def test_targets_are_counted_among_the_genes(tmp_path: Path) -> None:
    assert "targets: 2 of 2 are genes of the file\n" in notes_of(load(make_adata(), tmp_path))
    labels = ["ctrl", "Q+A", "A+ctrl", "ctrl", "ctrl+Q", "A+ctrl", "Q+A", "ctrl+Q"]
    assert "targets: 1 of 2 are genes of the file (not: 'Q')" in notes_of(load(make_adata(labels=labels), tmp_path))
    labels = ["ctrl", "P+R", "Q+R", "ctrl", "P+Q", "P+Q+R", "P+Q", "Q+R"]
    notes = notes_of(load(make_adata(labels=labels), tmp_path))
    assert "targets: 0 of 3 are genes of the file (not: " in notes
    assert "'no-targets' leaves out nothing and equals 'default'" in notes
    assert "left out: 1 perturbations of three or more targets ('P+Q+R')" in notes


def test_numbered_genes_take_the_symbols_of_a_column(tmp_path: Path) -> None:
    adata = make_adata()
    adata.var = pd.DataFrame({"gene_names": ["A", "B", "C"]}, index=["0", "1", "2"])
    assert list(load(adata, tmp_path).var_names) == ["A", "B", "C"]
    adata.var = adata.var.rename(columns={"gene_names": "called"})  # of no known name, but it has the targets
    named = load(adata, tmp_path)
    assert list(named.var_names) == ["A", "B", "C"]
    assert "gene names: var['called']" in notes_of(named)
    assert "targets: 2 of 2 are genes" in notes_of(named)


@pytest.mark.parametrize("spelt", ["{}_ENSG{:011d}", "GRCh38_{}"])
def test_genes_that_hold_more_than_their_symbol_are_called_by_it(spelt: str, tmp_path: Path) -> None:
    adata = make_adata()
    adata.var_names = [spelt.format(gene, i) for i, gene in enumerate("ABC")]
    named = load(adata, tmp_path)
    assert list(named.var_names) == ["A", "B", "C"]
    assert ("ensembl_id" in named.var) == ("ENSG" in spelt)
    assert "gene names: 'A' of '" in notes_of(named)


def test_guides_kept_apart_remember_their_gene(tmp_path: Path) -> None:
    labels = ["ctrl", "A-1", "B-1", "ctrl", "A-2", "B-2", "A-1", "B-2"]
    together = load(make_adata(labels=labels), tmp_path)
    assert list(together.obs["perturbation"]) == ["control", "A", "B", "control", "A", "B", "A", "B"]
    assert "genes" not in together.obs
    assert "guides: 4 names of guides of 2 genes" in notes_of(together)
    apart = load(make_adata(labels=labels), tmp_path, guides="separate", modality="crispra")
    table = describe_perturbations(pseudobulk(apart)).set_index("perturbation")
    assert table["genes"].to_dict() == {"control": "control", "A-1": "A", "B-1": "B", "A-2": "A", "B-2": "B"}
    assert table["on_target"].drop("control").notna().all()
    assert "targets: 2 of 2 are genes" in notes_of(apart)


def test_too_little_is_refused(tmp_path: Path) -> None:
    assert "no control" in message_of(make_adata(labels=["A", "B"] * 4), tmp_path)
    assert "1 perturbation besides" in message_of(make_adata(labels=["ctrl", "A"] * 4), tmp_path)
    assert "it is empty: 0 rows x 3 genes" in message_of(make_adata()[:0].copy(), tmp_path)
    assert "it has no X" in message_of(anndata.AnnData(obs=make_adata().obs, var=make_adata().var), tmp_path)


def test_an_h5ad_of_another_kind_says_what_is_missing(tmp_path: Path) -> None:
    adata = make_adata()
    adata.obs = pd.DataFrame({"leiden": ["1"] * 8}, index=adata.obs_names)
    message = message_of(adata, tmp_path)
    assert "'leiden'" in message
    assert "--label-column" in message
    assert "another kind" in message


def test_a_level_that_the_rows_contradict_is_refused(tmp_path: Path) -> None:
    assert "2 rows at level 'pseudobulk'" in message_of(make_adata(), tmp_path, level="pseudobulk")


def test_parameters_are_checked_by_name_and_value(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no parameter 'colour'; it has label_column"):
        load_dataset("h5ad", tmp_path / "x.h5ad", {"colour": 1})
    with pytest.raises(DataError, match=r"level \(--level\) is 'bulk'"):
        load_dataset("h5ad", tmp_path / "x.h5ad", {"level": "bulk"})
    with pytest.raises(DataError, match="needs a file"):
        load_dataset("h5ad", None, {})


def test_the_offer_lists_every_parameter_with_its_default(tmp_path: Path) -> None:
    offer = next(offer for offer in describe().datasets if offer.name == "h5ad")
    assert offer.takes_file
    assert load(make_adata(), tmp_path, **offer.params).n_obs == 8


def shared_file(name: str) -> Path:
    folder = Path(os.environ.get("PERTHARNESS_SHARED", Path(__file__).parents[3] / "shared"))
    path = folder / "data" / name
    if not path.is_file():
        pytest.skip(f"{name} is not in {folder / 'data'}; set PERTHARNESS_SHARED")
    return path


@pytest.mark.reference
@pytest.mark.parametrize(
    ("name", "level"), [("norman2019_k562_cells.h5ad", "cells"), ("wessels2023_thp1_pseudobulk.h5ad", "pseudobulk")]
)
def test_a_real_screen_loads_without_a_flag(name: str, level: str) -> None:
    path = shared_file(name)
    given = read(path)
    adata = load_dataset("h5ad", path, {})
    check_dataset(adata, name)
    assert adata.uns["pertharness"]["level"] == level
    assert list(adata.obs["label_given"]) == list(given.obs["condition"])
    assert list(adata.var_names) == list(given.var_names)
    assert set(layers_of(given)) == set(layers_of(adata))
    # Rows and values as they are in the file; the mean of the controls by pandas.
    is_control = (adata.obs["perturbation"] == "control").to_numpy()
    controls = given.X[is_control]
    expected = pd.DataFrame(np.asarray(controls.todense() if sparse.issparse(controls) else controls, dtype=np.float64))
    np.testing.assert_allclose(control_mean(adata), expected.mean(axis=0), rtol=0, atol=1e-12)
    table = describe_perturbations(pseudobulk(adata))
    assert len(table) == given.obs["condition"].nunique()
    assert set(table["n_targets"]) == {0, 1, 2}


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_a_screen_of_several_chunks_is_normalised_from_file_to_file(form: object, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 3, (3000, 2000)).astype(np.float32)  # 24 MB dense: two chunks, and four as CSR
    counts[:, 0] = 1
    labels = [*(["ctrl"] * 1000), *(["G1+ctrl"] * 1000), *(["G2+ctrl"] * 1000)]
    obs = pd.DataFrame({"condition": pd.Categorical(labels)}, index=[f"c{i}" for i in range(3000)])
    obs["cell_type"] = pd.Categorical(["K562", "RPE1", "RPE1"] * 1000)
    adata = anndata.AnnData(X=form(counts), obs=obs, var=pd.DataFrame(index=[f"G{i}" for i in range(2000)]))  # type: ignore[operator]
    adata.write_h5ad(tmp_path / "mine.h5ad", compression="lzf")
    dataset = load_dataset("h5ad", tmp_path / "mine.h5ad", {"normalise": True, "context": "RPE1"})
    check_dataset(dataset, "mine")
    write(dataset, tmp_path / "written.h5ad")
    kept = counts[np.arange(3000) % 3 > 0].astype(np.float64)
    expected = np.log1p(kept * (1e4 / kept.sum(axis=1, keepdims=True))).astype(np.float32)
    back = read(tmp_path / "written.h5ad")
    assert np.array_equal(back.X if isinstance(back.X, np.ndarray) else back.X.toarray(), expected)
    found = back.layers["counts"]
    assert np.array_equal(found if isinstance(found, np.ndarray) else found.toarray(), kept)
    assert back.obs["total_counts"].tolist() == kept.sum(axis=1).tolist()
    assert np.array_equal(pseudobulk(dataset).X, pseudobulk(back).X)


def test_unsorted_indices_are_sorted_on_the_way(tmp_path: Path) -> None:
    adata = make_adata(sparse.csr_matrix(LOGS))
    adata.X.indices[:3], adata.X.data[:3] = [2, 0, 1], LOGS[0, [2, 0, 1]]
    adata.X.has_sorted_indices = False
    write(load(adata, tmp_path), tmp_path / "sorted.h5ad")
    back = read(tmp_path / "sorted.h5ad").X
    assert back.indices[:3].tolist() == [0, 1, 2]
    assert np.array_equal(back.toarray(), LOGS)
