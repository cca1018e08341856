"""Datasets that stay on disk: what is written from file to file equals what goes through memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from pertharness.contract.errors import DataError
from pertharness.data.canonical import check_dataset, open_stored, pseudobulk, read, select, write
from pertharness.data.expression import layers_of
from pertharness.data.stored import Stored
from scipy import sparse

FORMS = {"dense": np.asarray, "csr": sparse.csr_matrix}


def make_dataset(form: str = "csr", n_cells: int = 60, n_genes: int = 8) -> anndata.AnnData:
    """Make a canonical dataset, cells of the perturbations in mixed order, some without any count."""
    rng = np.random.default_rng(1)
    counts = rng.poisson(0.7, (n_cells, n_genes)).astype(np.float32)
    labels = ["control", "A", "B", "A+B", *rng.choice(["control", "A", "B", "A+B"], n_cells - 4)]
    obs = pd.DataFrame(index=pd.Index([f"cell{i}" for i in range(n_cells)], dtype=object))
    obs["perturbation"] = obs["label_given"] = pd.Categorical(labels)
    obs["total_counts"], obs["secret"] = counts.sum(axis=1), range(n_cells)
    var = pd.DataFrame({"ensembl_id": [f"E{i}" for i in range(n_genes)]}, index=[f"g{i}" for i in range(n_genes)])
    fields = {"name": "small", "level": "cells", "scale": "log1p CP10k", "origin": "made here", "notes": "60 cells"}
    layers = {"counts": FORMS[form](counts)}
    return anndata.AnnData(
        X=FORMS[form](np.log1p(counts)), obs=obs, var=var, layers=layers, uns={"pertharness": fields}
    )


def assert_same(found: anndata.AnnData, expected: anndata.AnnData) -> None:
    # Of names the values count: pandas 3 reads texts back as its own type of text.
    for one, other in ((found.obs, expected.obs), (found.var, expected.var)):
        pd.testing.assert_frame_equal(one, other, check_index_type=False)
    assert dict(found.uns["pertharness"]) == dict(expected.uns["pertharness"])
    assert set(layers_of(found)) == set(layers_of(expected))
    pairs = [(found.X, expected.X), *((found.layers[name], expected.layers[name]) for name in layers_of(found))]
    for one, other in pairs:
        assert type(one) is type(other)
        assert one.dtype == other.dtype
        if isinstance(one, np.ndarray):
            assert np.array_equal(one, other)
        else:
            for part in ("data", "indices", "indptr"):
                assert np.array_equal(getattr(one, part), getattr(other, part))
                assert getattr(one, part).dtype == getattr(other, part).dtype


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("labels", [["control", "A"], ["B"], ["control", "A", "B", "A+B"]])
def test_a_selection_from_file_to_file_equals_one_through_memory(
    form: str, compression: str | None, labels: list[str], tmp_path: Path
) -> None:
    make_dataset(form).write_h5ad(tmp_path / "x.h5ad", compression=compression)
    write(select(read(tmp_path / "x.h5ad"), labels), tmp_path / "memory.h5ad")
    write(select(open_stored(tmp_path / "x.h5ad"), labels), tmp_path / "stored.h5ad")
    assert_same(read(tmp_path / "stored.h5ad"), read(tmp_path / "memory.h5ad"))
    with h5py.File(tmp_path / "stored.h5ad") as one, h5py.File(tmp_path / "memory.h5ad") as other:
        assert tree(one) == tree(other)


def tree(file: h5py.File) -> dict[str, Any]:
    """Return every element of a file with its encoding, type and compression."""
    found: dict[str, Any] = {}

    def add(name: str, item: Any) -> None:
        said = [str(item.attrs.get(key)) for key in ("encoding-type", "encoding-version")]
        shape = [int(n) for n in item.attrs.get("shape", ())]
        found[name] = (said, shape, (str(item.dtype), item.compression) if hasattr(item, "dtype") else None)

    file.visititems(add)
    return found


def test_a_selection_tells_nothing_of_the_rest(tmp_path: Path) -> None:
    write(make_dataset(), tmp_path / "x.h5ad")
    write(select(open_stored(tmp_path / "x.h5ad"), ["control", "A"]), tmp_path / "train.h5ad")
    train = read(tmp_path / "train.h5ad")
    assert list(train.obs_names) == [str(i) for i in range(train.n_obs)]
    assert set(train.obs["perturbation"].cat.categories) == {"control", "A"}
    assert list(train.obs.columns) == ["perturbation", "label_given", "total_counts"]
    assert "notes" not in train.uns["pertharness"]
    assert list(layers_of(train)) == ["counts"]


def test_a_missing_perturbation_is_refused(tmp_path: Path) -> None:
    write(make_dataset(), tmp_path / "x.h5ad")
    with pytest.raises(DataError, match="'C'"):
        select(open_stored(tmp_path / "x.h5ad"), ["C"])


@pytest.mark.parametrize("form", FORMS)
def test_a_stored_dataset_is_checked_averaged_and_copied_like_one_in_memory(form: str, tmp_path: Path) -> None:
    write(make_dataset(form), tmp_path / "x.h5ad")
    stored, memory = open_stored(tmp_path / "x.h5ad"), read(tmp_path / "x.h5ad")
    assert isinstance(stored, Stored)
    check_dataset(stored, "small")
    assert np.array_equal(pseudobulk(stored).X, pseudobulk(memory).X)
    pd.testing.assert_frame_equal(pseudobulk(stored).obs, pseudobulk(memory).obs)
    assert_same(stored.to_memory(), memory)
    write(stored, tmp_path / "y.h5ad")
    assert_same(read(tmp_path / "y.h5ad"), memory)


def test_a_bad_value_on_disk_is_found(tmp_path: Path) -> None:
    adata = make_dataset()
    adata.X[41, 3] = np.nan
    write(adata, tmp_path / "x.h5ad")
    with pytest.raises(DataError, match="nan in row 'cell41', gene 'g3'"):
        check_dataset(open_stored(tmp_path / "x.h5ad"), "small")


def test_a_csc_matrix_is_written_as_csr(tmp_path: Path) -> None:
    adata = make_dataset()
    adata.X = adata.X.tocsc()
    adata.write_h5ad(tmp_path / "x.h5ad")
    write(open_stored(tmp_path / "x.h5ad"), tmp_path / "y.h5ad")
    assert_same(read(tmp_path / "y.h5ad"), make_dataset())


def test_an_absent_a_cut_and_a_foreign_file_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.h5ad"
    with pytest.raises(DataError, match=r"no file '.*x\.h5ad'"):
        open_stored(path)
    write(make_dataset(), path)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(DataError, match="expected a whole HDF5 file"):
        open_stored(path)
    with h5py.File(path, "w") as file:
        file["matrix/data"] = [1, 2]
    with pytest.raises(DataError, match=r"another kind: it has matrix, no obs, var"):
        open_stored(path)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    write(make_dataset(), tmp_path / "x.h5ad")
    with h5py.File(tmp_path / "x.h5ad", "a") as file:
        file["X/indptr"][5] = 10_000
    with pytest.raises(DataError, match="indptr"):
        write(select(open_stored(tmp_path / "x.h5ad"), ["A"]), tmp_path / "y.h5ad")
    assert [path.name for path in tmp_path.iterdir()] == ["x.h5ad"]
