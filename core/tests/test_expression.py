"""Files of expression: only encodings that old readers know, whole or absent, and a clear word on a bad file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from pertharness.contract.errors import DataError
from pertharness.data.canonical import read, write
from scipy import sparse

# What anndata 0.9 reads (its file format description); no nullable-..., no null.
OLD_ENCODINGS = {"anndata", "dataframe", "array", "string-array", "string", "categorical", "dict", "csr_matrix",
                 "numeric-scalar"}  # fmt: skip


def make_adata() -> anndata.AnnData:
    index = [f"c{i}" for i in range(4)]
    obs = pd.DataFrame({"perturbation": pd.Categorical(list("abab")), "note": list("wxyz"), "n": range(4)}, index=index)
    var = pd.DataFrame({"ensembl_id": ["E1", "E2"]}, index=["A", "B"])
    matrix = sparse.csr_matrix(np.arange(8, dtype=np.float32).reshape(4, 2))
    uns = {"pertharness": {"name": "x", "modality": None, "deep": {"empty": None, "kept": 1}}, "none": None}
    return anndata.AnnData(X=matrix, obs=obs, var=var, layers={"counts": matrix}, uns=uns)


@pytest.fixture(params=[False, True], ids=["object-strings", "inferred-strings"])
def adata(request: pytest.FixtureRequest) -> Iterator[anndata.AnnData]:
    """Return data made under pandas' old and, where there is one, its new type of texts."""
    if not request.param:
        yield make_adata()
        return
    try:
        pd.get_option("future.infer_string")
    except KeyError:
        pytest.skip(f"pandas {pd.__version__} has no future.infer_string")
    with pd.option_context("future.infer_string", True):
        yield make_adata()


def test_only_encodings_of_anndata_0_9_are_written(adata: anndata.AnnData, tmp_path: Path) -> None:
    write(adata, tmp_path / "x.h5ad")
    found: dict[str, str] = {}
    with h5py.File(tmp_path / "x.h5ad") as file:
        file.visititems(lambda name, item: found.update({name: item.attrs.get("encoding-type", "array")}))
        assert file["X"]["data"].compression is None
    assert set(found.values()) <= OLD_ENCODINGS
    assert not [name for name in found if "none" in name or "modality" in name or "empty" in name]


def test_what_was_written_is_read(adata: anndata.AnnData, tmp_path: Path) -> None:
    write(adata, tmp_path / "sub" / "x.h5ad")
    back = read(tmp_path / "sub" / "x.h5ad")
    assert (back.X != adata.X).nnz == 0
    assert (back.layers["counts"] != adata.X).nnz == 0
    assert back.obs["perturbation"].tolist() == list("abab")
    assert back.obs["note"].tolist() == list("wxyz")
    assert back.var["ensembl_id"].tolist() == ["E1", "E2"]
    assert back.uns["pertharness"]["deep"] == {"kept": 1}
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["x.h5ad"]


def test_the_data_is_not_changed_by_writing(tmp_path: Path) -> None:
    adata = make_adata()
    write(adata, tmp_path / "x.h5ad")
    assert adata.uns["none"] is None
    assert adata.obs["note"].dtype == make_adata().obs["note"].dtype


def test_float64_stays_float64(tmp_path: Path) -> None:
    write(anndata.AnnData(X=np.array([[1 / 3]])), tmp_path / "x.h5ad")
    assert read(tmp_path / "x.h5ad").X.tolist() == [[1 / 3]]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    adata = make_adata()
    write(adata, tmp_path / "x.h5ad")
    before = (tmp_path / "x.h5ad").read_bytes()
    adata.uns["unwritable"] = object()
    with pytest.raises(Exception, match="unwritable"):
        write(adata, tmp_path / "x.h5ad")
    assert (tmp_path / "x.h5ad").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_an_absent_a_cut_and_a_foreign_file_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.h5ad"
    with pytest.raises(DataError, match=r"no file '.*x\.h5ad'"):
        read(path)
    path.write_text("gene,cell\n")
    with pytest.raises(DataError, match=r"x\.h5ad' \(10 bytes\) cannot be read as h5ad"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"\(0 bytes\)"):
        read(path)
    write(make_adata(), path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match="expected a whole HDF5 file"):
        read(path)
    with h5py.File(path, "w") as file:
        file["matrix/data"] = [1, 2]
    with pytest.raises(DataError, match=r"another kind: it has matrix, no obs, var"):
        read(path)


def test_an_unknown_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.h5ad"
    write(make_adata(), path)
    with h5py.File(path, "a") as file:
        file["obs/n"].attrs["encoding-type"] = "of-tomorrow"
    with pytest.raises(DataError, match="of-tomorrow"):
        read(path)
