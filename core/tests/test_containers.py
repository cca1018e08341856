"""Containers of other kinds than h5ad: read to the same bits, or refused with the line that converts them."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import warnings
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from pertharness.contract.errors import DataError
from pertharness.data.expression import open_stored, read
from pertharness.datasets import load_dataset
from pertharness.datasets.draft import draft_label_map
from pertharness.files.whole import sha256_file
from pertharness.host.store.hashes import remembered_sha256
from scipy import sparse

N_CELLS, GENES = 40, [f"G{i}" for i in range(30)]


def make_screen() -> anndata.AnnData:
    rng = np.random.default_rng(0)
    counts = rng.poisson(3.0, (N_CELLS, len(GENES))).astype(np.float32)
    values = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4).astype(np.float32)
    labels = [("ctrl", "G0", "G1", "G2")[i % 4] for i in range(N_CELLS)]
    obs = pd.DataFrame({"condition": pd.Categorical(labels)}, index=[f"c{i}" for i in range(N_CELLS)])
    adata = anndata.AnnData(X=sparse.csr_matrix(values), obs=obs, var=pd.DataFrame(index=GENES))
    adata.layers["counts"] = sparse.csr_matrix(counts)
    return adata


@pytest.fixture
def h5ad(tmp_path: Path) -> Path:
    make_screen().write_h5ad(tmp_path / "screen.h5ad")
    return tmp_path / "screen.h5ad"


def load(path: Path, **params: object) -> anndata.AnnData:
    return load_dataset("h5ad", path, params).to_memory()


def check_same(adata: anndata.AnnData, expected: anndata.AnnData) -> None:
    for matrix, wanted in ((adata.X, expected.X), (adata.layers["counts"], expected.layers["counts"])):
        assert matrix.dtype == wanted.dtype
        assert (matrix != wanted).nnz == 0
    pd.testing.assert_frame_equal(adata.obs, expected.obs)
    assert list(adata.var_names) == list(expected.var_names)


def message_of(path: Path, **params: object) -> str:
    with pytest.raises(DataError) as error:
        load(path, **params)
    return str(error.value)


# zarr


def write_zarr(path: Path, adata: anndata.AnnData, zarr_format: int = 2, chunk: int = 50) -> Path:
    zarr = pytest.importorskip("zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the next releases of anndata and zarr write
        return _write_zarr(zarr, path, adata, zarr_format, chunk)


def _write_zarr(zarr: Any, path: Path, adata: anndata.AnnData, zarr_format: int, chunk: int) -> Path:
    is_new = int(zarr.__version__.split(".")[0]) >= 3
    if zarr_format == 3 and not (is_new and hasattr(anndata.settings, "zarr_write_format")):
        pytest.skip("zarr or anndata writes no format 3")
    if is_new and hasattr(anndata.settings, "zarr_write_format"):
        with anndata.settings.override(zarr_write_format=zarr_format):
            adata.write_zarr(path)
    else:
        adata.write_zarr(path)
    group = zarr.open_group(str(path), mode="a", **({"use_consolidated": False} if is_new else {}))
    for place in ("X", "layers/counts"):  # in small pieces, so that there are several
        for name in ("data", "indices"):
            values = group[place][name][:]
            attributes = dict(group[place][name].attrs)
            del group[place][name]
            create = group[place].create_array if is_new else group[place].create_dataset
            array = create(name, shape=values.shape, dtype=values.dtype, chunks=(chunk,))
            array[:] = values
            array.attrs.update(attributes)
    return path


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zarr.zip")
    with zipfile.ZipFile(path, "w") as file:
        for member in sorted(folder.rglob("*")):
            if member.is_file():
                file.write(member, member.relative_to(folder).as_posix())
    return path


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("is_zip", [False, True])
def test_zarr_is_read_to_the_same_bits(zarr_format: int, is_zip: bool, h5ad: Path, tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "screen.zarr", make_screen(), zarr_format)
    adata = load(zipped(path) if is_zip else path)
    check_same(adata, load(h5ad))
    assert adata.uns["pertharness"]["name"] == "screen"


def test_format_3_needs_zarr_3(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    (tmp_path / "x.zarr").mkdir()
    (tmp_path / "x.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    is_new = int(zarr.__version__.split(".")[0]) >= 3
    assert ("zarr of another kind" if is_new else "zarr 3 needs Python 3.11") in message_of(tmp_path / "x.zarr")


def test_zarr_stays_on_disk(tmp_path: Path) -> None:
    stored = open_stored(write_zarr(tmp_path / "screen.zarr", make_screen()))
    assert type(stored.X.data).__module__.startswith("zarr")


def test_a_dense_zarr_is_read(h5ad: Path, tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    adata = make_screen()
    adata.X = adata.X.toarray()
    del adata.layers["counts"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata.write_zarr(tmp_path / "dense.zarr", chunks=(7, 11))
    assert np.array_equal(load(tmp_path / "dense.zarr").X, load(h5ad).X.toarray())


def test_pieces_that_are_missing_are_no_zeros(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "screen.zarr", make_screen())
    for number in "01":
        (path / "X" / "data" / number).unlink()
    assert "'/X/data' has" in message_of(path)
    assert "read as zeros" in message_of(path)


@pytest.mark.parametrize(("name", "number"), [("data", "1"), ("data", "last"), ("indices", "1"), ("indices", "last")])
def test_not_one_piece_of_a_sparse_matrix_may_be_missing(name: str, number: str, tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "screen.zarr", make_screen())
    pieces = sorted((piece for piece in (path / "X" / name).glob("[0-9]*")), key=lambda piece: int(piece.name))
    (pieces[-1] if number == "last" else pieces[1]).unlink()
    assert f"'/X/{name}' has {len(pieces) - 1} of {len(pieces)} pieces" in message_of(path)


def test_rows_of_which_the_places_are_missing_are_not_empty(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "screen.zarr", make_screen())
    for piece in (path / "X" / "indptr").glob("[0-9]*"):
        piece.unlink()
    assert "its indptr says that no row has one" in message_of(path)


def test_a_zip_file_that_is_cut_short_is_said(tmp_path: Path) -> None:
    path = zipped(write_zarr(tmp_path / "screen.zarr", make_screen()))
    path.write_bytes(path.read_bytes()[:-500])
    assert "is cut short or damaged" in message_of(path)


def test_a_piece_that_is_damaged_is_said(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "screen.zarr", make_screen())
    piece = path / "X" / "data" / "3"
    piece.write_bytes(piece.read_bytes()[:-7])
    assert "cannot be read" in message_of(path)


def test_a_zip_file_that_is_damaged_is_said(tmp_path: Path) -> None:
    path = zipped(write_zarr(tmp_path / "screen.zarr", make_screen()))
    with zipfile.ZipFile(path) as file:
        place = file.getinfo("X/data/3").header_offset + 60
    content = bytearray(path.read_bytes())
    content[place : place + 20] = b"x" * 20
    path.write_bytes(content)
    assert "cannot be read" in message_of(path)


@pytest.mark.parametrize("codec", ["Zlib", "GZip", "BZ2", "Zstd", "Blosc"])
def test_a_damaged_piece_is_said_whatever_packed_it(codec: str, tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "screen.zarr", make_screen())
    numcodecs = pytest.importorskip("numcodecs")
    packer = getattr(numcodecs, codec)()
    describe(path / "X" / "data" / ".zarray", compressor=packer.get_config())
    for piece in (path / "X" / "data").glob("[0-9]*"):
        piece.write_bytes(b"\x1f\x8b damaged" * 5)
    assert "cannot be read" in message_of(path)


def test_a_zarr_folder_with_links_is_refused(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "screen.zarr", make_screen())
    (path / "X" / "data" / "1").rename(tmp_path / "elsewhere")
    (path / "X" / "data" / "1").symlink_to(tmp_path / "elsewhere")
    assert "'X/data/1' is a link" in message_of(path)


def describe(path: Path, **changes: object) -> None:
    described = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**described, **changes}), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"filters": [{"id": "pickle"}]}, "packed with 'pickle'"),
        ({"compressor": {"id": "mine"}}, "packed with 'mine'"),
        ({"shape": [10**13]}, "declares 10000000000000 values"),
        ({"chunks": [10**13]}, "TiB"),
        ({"chunks": [0]}, "not described as an array"),
        ({"chunks": None}, "not described as an array"),
    ],
)
def test_a_zarr_array_that_misleads_is_refused(changes: dict[str, object], words: str, tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "screen.zarr", make_screen())
    describe(path / "X" / "data" / ".zarray", **changes)
    assert words in message_of(path)
    assert words in message_of(zipped(path))


def test_codecs_within_shards_are_looked_at(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "screen.zarr", make_screen(), 3)
    shards = {"name": "sharding_indexed", "configuration": {"chunk_shape": [1], "codecs": [{"name": "odd"}]}}
    describe(path / "X" / "data" / "zarr.json", codecs=[shards])
    assert "packed with 'odd'" in message_of(path)


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a\\b", "c:/out"])
def test_names_that_lead_out_of_a_zip_file_are_refused(name: str, tmp_path: Path) -> None:
    path = zipped(write_zarr(tmp_path / "screen.zarr", make_screen()))
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(name, b"x")
    assert "leads out of the zip file" in message_of(path)


def test_a_folder_has_a_sum_of_all_that_is_in_it(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "below").mkdir(parents=True)
        (tmp_path / name / "below" / "a").write_text("1")
    first = sha256_file(tmp_path / "one")
    assert first == sha256_file(tmp_path / "two")
    (tmp_path / "two" / "below" / "a").write_text("2")
    second = sha256_file(tmp_path / "two")
    (tmp_path / "two" / "below" / "a").rename(tmp_path / "two" / "below" / "b")
    assert len({first, second, sha256_file(tmp_path / "two")}) == 3


def test_the_sum_of_a_folder_is_not_remembered(tmp_path: Path) -> None:
    (tmp_path / "store" / "below").mkdir(parents=True)
    piece = tmp_path / "store" / "below" / "a"
    piece.write_text("1")
    for each in (piece, piece.parent, tmp_path / "store"):
        os.utime(each, (1, 1))
    first = remembered_sha256(tmp_path / "store", tmp_path)
    piece.write_text("2")
    assert remembered_sha256(tmp_path / "store", tmp_path) != first


# h5mu, raw, encodings


def write_h5mu(path: Path, *names: str, **shared: object) -> Path:
    adata = make_screen()
    adata.write_h5ad(path.with_suffix(".part"))
    table = pd.DataFrame(shared, index=adata.obs_names)
    anndata.AnnData(obs=table).write_h5ad(path)
    with h5py.File(path.with_suffix(".part")) as part, h5py.File(path, "a") as file:
        file.attrs["encoding-type"] = "MuData"
        for name in list(file):
            if name != "obs":
                del file[name]
        for name in names:
            part.copy(part["/"], file.require_group("mod"), name=name)
    return path


def test_a_modality_is_read_by_its_name(h5ad: Path, tmp_path: Path) -> None:
    path = write_h5mu(tmp_path / "two.h5mu", "adt", "rna")
    message = message_of(path)
    assert "2 modalities ('adt', 'rna')" in message
    assert "--modality-key" in message
    check_same(load(path, modality_key="rna"), load(h5ad))
    assert "no modality 'x'" in message_of(path, modality_key="x")
    check_same(load(write_h5mu(tmp_path / "one.h5mu", "rna")), load(h5ad))
    assert "no modalities" in message_of(h5ad, modality_key="rna")


def test_a_draft_of_a_label_map_reads_the_modality(tmp_path: Path) -> None:
    path = write_h5mu(tmp_path / "a.h5mu", "rna", "prot")
    assert draft_label_map(path, {"modality_key": "rna"})[0]


def test_labels_that_all_modalities_share_are_found(tmp_path: Path) -> None:
    labels = ["NT", "G3", "G4", "G5"] * 10
    path = write_h5mu(tmp_path / "x.h5mu", "rna", "adt", guide=labels, **{"adt:other": labels, "rna:mine": labels})
    stored = open_stored(path, "rna")
    assert list(stored.obs.columns) == ["condition", "guide", "mine"]
    adata = load(path, modality_key="rna", label_column="guide")
    assert list(adata.obs["perturbation"].unique()) == ["control", "G3", "G4", "G5"]


def test_raw_is_a_layer_with_genes_of_its_own(tmp_path: Path) -> None:
    adata = make_screen()
    adata.raw = adata.copy()
    subset = adata[:, :10].copy()
    subset.X = sparse.csr_matrix(subset.X.toarray() - 5)
    del subset.layers["counts"]
    subset.write_h5ad(tmp_path / "x.h5ad")
    assert "--layer ('raw')" in message_of(tmp_path / "x.h5ad")
    taken = load(tmp_path / "x.h5ad", layer="raw")
    assert list(taken.var_names) == GENES
    assert (taken.X != make_screen().X).nnz == 0


def test_nullable_texts_are_read_or_need_a_newer_anndata(h5ad: Path) -> None:
    expected = load(h5ad)
    with h5py.File(h5ad, "a") as file:
        labels = np.asarray(read_labels(file), dtype=object)
        del file["obs"]["condition"]
        group = file["obs"].create_group("condition")
        group.attrs.update({"encoding-type": "nullable-string-array", "encoding-version": "0.1.0"})
        for name, values in {"values": labels, "mask": np.zeros(N_CELLS, dtype=bool)}.items():
            group[name] = values
            encoding = "string-array" if name == "values" else "array"
            group[name].attrs.update({"encoding-type": encoding, "encoding-version": "0.2.0"})
    major, minor = map(int, version("anndata").split(".")[:2])
    if (major, minor) >= (0, 11):
        check_same(load(h5ad), expected)
    else:
        assert "needs Python 3.11" in message_of(h5ad)


def read_labels(file: h5py.File) -> list[str]:
    column = file["obs"]["condition"]
    categories = [text.decode() for text in column["categories"][:]]
    return [categories[code] for code in column["codes"][:]]


def test_an_encoding_that_nobody_knows_is_said(h5ad: Path) -> None:
    with h5py.File(h5ad, "a") as file:
        file["obs"]["condition"].attrs["encoding-type"] = "of-the-future"
    message = message_of(h5ad)
    assert "of-the-future" in message
    assert "install a newer anndata" in message


def test_codes_of_seuratdisk_are_read_by_their_categories(h5ad: Path) -> None:
    expected = load(h5ad)
    with h5py.File(h5ad, "a") as file:
        column = file["obs"]["condition"]
        codes, categories = column["codes"][:].astype("i4"), column["categories"][:]
        del file["obs"]["condition"]
        file["obs"]["condition"] = codes
        file["obs"]["condition"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        file["obs"].create_group("__categories")["condition"] = categories
    check_same(load(h5ad), expected)


def test_a_filter_that_is_not_installed_is_said(h5ad: Path) -> None:
    with h5py.File(h5ad, "a") as file:
        values = file["X"]["data"][:]
        del file["X"]["data"]
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_chunk((len(values),))
        layout.set_filter(32_999, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple(values.shape)
        h5py.h5d.create(file["X"].id, b"data", h5py.h5t.py_create(values.dtype), space, layout)
        file["X"]["data"].id.write_direct_chunk((0,), values.tobytes())
    message = message_of(h5ad)
    assert "filter 32999" in message
    assert "pip install hdf5plugin" in message


# What is converted, not read


def make_10x(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("matrix")["barcodes"] = [b"a"]


def make_loom(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["matrix"] = np.zeros((2, 2))
        for name in ("row_attrs", "col_attrs", "layers"):
            file.create_group(name)


def make_h5seurat(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for name in ("assays", "meta.data"):
            file.create_group(name)


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("x.h5", make_10x, "read_10x_h5"),
        ("x.loom", make_loom, "read_loom"),
        ("x.h5seurat", make_h5seurat, "SeuratDisk::Convert"),
        ("x.csv", lambda path: path.write_text("cell,G1\nc1,2\n"), "read_csv"),
        ("x.tsv", lambda path: path.write_text("cell\tG1\n"), "read_csv"),
        ("x.rds", lambda path: path.write_bytes(b"RDX3\n"), "writeH5AD"),
        ("x.h5ad.gz", lambda path: path.write_bytes(gzip.compress(b"anything")), "gunzip -k"),
        ("x.h5ad.zst", lambda path: path.write_bytes(b"\x28\xb5\x2f\xfd" + b"0" * 20), "zstd -d"),
        ("x.h5ad.xz", lambda path: path.write_bytes(b"\xfd7zXZ\0" + b"0" * 20), "xz -dk"),
        ("x.zip", lambda path: zipfile.ZipFile(path, "w").writestr("x.h5ad", b"x"), "unzip"),
        ("folder", lambda path: path.mkdir(), "is a folder"),
        ("x.zarr", lambda path: path.mkdir(), "expected a whole store"),
    ],
)
def test_what_is_not_read_comes_with_the_line_that_converts_it(
    name: str, make: object, words: str, tmp_path: Path
) -> None:
    make(tmp_path / name)  # type: ignore[operator]
    assert words in message_of(tmp_path / name)


def test_a_folder_of_10x_matrices_comes_with_the_line_that_converts_it(tmp_path: Path) -> None:
    (tmp_path / "filtered").mkdir()
    (tmp_path / "filtered" / "matrix.mtx.gz").write_bytes(b"")
    assert f"read_10x_mtx({str(tmp_path / 'filtered')!r})" in message_of(tmp_path / "filtered")


def test_the_line_that_converts_a_table_does(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("cell,G1,G2\nc1,2,1\nc2,0,3\n")
    line = message_of(path).split('python -c "')[1].rstrip('"')
    if not hasattr(anndata, "io"):
        pytest.skip("anndata has no io")
    exec(line)
    assert list(read(tmp_path / "x.h5ad").var_names) == ["G1", "G2"]
    shutil.rmtree(tmp_path)
