"""Files that show what is not in them are refused before anything of it is read, and nothing is allocated for them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from pertharness.contract.errors import DataError
from pertharness.data.expression import read
from pertharness.data.hdf5_structure import check_structure, in_units
from pertharness.datasets.h5ad import load_h5ad
from pertharness.worker.external.read import read_prediction

LABELS = ["control", "A", "A+B"]
GENES = pd.Index(["A", "B", "C", "D"], dtype=object)
ENORMOUS = 4_000_000_000_000


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return make(tmp_path / "whole.h5ad")


def make(path: Path) -> Path:
    obs = pd.DataFrame({"perturbation": LABELS}, index=["r0", "r1", "r2"]).astype(object)
    AnnData(X=np.full((3, 4), 0.5), obs=obs, var=pd.DataFrame(index=GENES)).write_h5ad(path)
    return path


def in_place_of_x(file: h5py.File, make_x: Callable[[], object]) -> None:
    attributes = dict(file["X"].attrs)
    del file["X"]
    make_x()
    file["X"].attrs.update(attributes)


def external_link(file: h5py.File, other: Path) -> None:
    del file["X"]
    file["X"] = h5py.ExternalLink(str(other), "/X")


def external_table(file: h5py.File, other: Path) -> None:
    del file["obs"]
    file["obs"] = h5py.ExternalLink(str(other), "/obs")


def soft_link_through_another_file(file: h5py.File, other: Path) -> None:
    del file["X"]
    file["uns/other"] = h5py.ExternalLink(str(other), "/")
    file["X"] = h5py.SoftLink("/uns/other/X")


def external_values(file: h5py.File, other: Path) -> None:
    values = [(str(other), 0, h5py.h5f.UNLIMITED)]
    in_place_of_x(file, lambda: file.create_dataset("X", (3, 4), dtype="u1", external=values))


def virtual_values(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout((3, 4), dtype="f8")
    layout[:] = h5py.VirtualSource(str(other), "X", (3, 4))
    in_place_of_x(file, lambda: file.create_virtual_dataset("X", layout))


def loop(file: h5py.File, other: Path) -> None:
    file["uns/again"] = file["uns"]


def huge_matrix(file: h5py.File, other: Path) -> None:
    shape = (2_000_000, 2_000_000)
    in_place_of_x(file, lambda: file.create_dataset("X", shape, dtype="f8", chunks=(1000, 1000)))


def huge_matrix_in_one_piece(file: h5py.File, other: Path) -> None:
    in_place_of_x(file, lambda: file.create_dataset("X", (2_000_000, 2_000_000), dtype="f8"))


def huge_sparse_matrix(file: h5py.File, other: Path) -> None:
    del file["X"]
    group = file.create_group("X")
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": np.array([3, 4])})
    for name in ("data", "indices"):
        group.create_dataset(name, (ENORMOUS,), dtype="i8", chunks=(1000,))
    group["indptr"] = np.array([0, 1, 2, ENORMOUS])


def huge_names(file: h5py.File, other: Path) -> None:
    attributes = dict(file["var/_index"].attrs)
    del file["var/_index"]
    names = file["var"].create_dataset("_index", (ENORMOUS,), dtype=h5py.string_dtype(), chunks=(1000,))
    names.attrs.update(attributes)


def huge_note(file: h5py.File, other: Path) -> None:
    note = file["uns"].create_dataset("note", (ENORMOUS,), dtype="f8", chunks=(1000,))
    note.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


OTHER = "whole.h5ad"
CASES: dict[Callable[[h5py.File, Path], None], list[str]] = {
    external_link: ["'/X' is a link to another file", OTHER, "in the file itself"],
    external_table: ["'/obs' is a link to another file", OTHER],
    soft_link_through_another_file: ["'/uns/other' is a link to another file", OTHER],
    external_values: ["'/X' has its values in another file", OTHER],
    virtual_values: ["'/X' is made of arrays of other files", OTHER],
    loop: ["'/uns/again' contains itself"],
    huge_matrix: ["'/X' declares 2000000 x 2000000 values of float64 (29.1 TiB)", "holds 0 bytes"],
    huge_matrix_in_one_piece: ["'/X' declares 2000000 x 2000000 values of float64 (29.1 TiB)"],
    huge_sparse_matrix: [f"declares {ENORMOUS} values of int64 (29.1 TiB)"],
    huge_names: [f"'/var/_index' declares {ENORMOUS} values", "TiB"],
    huge_note: [f"'/uns/note' declares {ENORMOUS} values of float64 (29.1 TiB)"],
}
READERS: dict[str, Callable[[Path], object]] = {
    "prediction": lambda path: read_prediction(path, GENES, ["A", "A+B"]),
    "dataset": lambda path: load_h5ad("h5ad", path, {"label_column": "perturbation", "control_label": "control"}),
    "in memory": read,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("spoil", CASES, ids=lambda spoil: spoil.__name__)
def test_a_file_that_shows_what_it_does_not_hold_is_refused(
    spoil: Callable[[h5py.File, Path], None], reader: str, whole: Path, tmp_path: Path
) -> None:
    path = make(tmp_path / "spoilt.h5ad")
    READERS[reader](path)
    with h5py.File(path, "a") as file:
        spoil(file, whole)
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as error:
            READERS[reader](path)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    for word in [repr(str(path)), *CASES[spoil]]:
        assert word in str(error.value)


def test_links_within_the_file_and_arrays_of_zeros_are_read(whole: Path) -> None:
    with h5py.File(whole, "a") as file:
        attributes = dict(file["X"].attrs)
        file.move("X", "obsm/values")
        file["X"] = h5py.SoftLink("/obsm/values")
        zeros = file.create_dataset("layers/zeros", (3, 4), dtype="f8", chunks=(3, 4))  # never written
        zeros.attrs.update(attributes)
        for name in ("X", "layers/zeros"):
            file[name].attrs.update(attributes)
    prediction, _ = read_prediction(whole, GENES, ["A"])
    assert np.array_equal(prediction.X, np.full((1, 4), 0.5))


def test_many_names_for_one_group_cost_no_time(tmp_path: Path) -> None:
    """Fifty groups that hold the next one twice: 2^50 ways, 50 groups."""
    with h5py.File(tmp_path / "many.h5", "w") as file:
        inner = file.create_group("inner")
        for _ in range(50):
            outer = file.create_group(None)
            outer["a"] = outer["b"] = inner
            inner = outer
        file["top"] = inner
        check_structure(file, "many.h5")


def test_sizes_are_in_units() -> None:
    assert [in_units(n) for n in (0, 1023, 1024, 5 << 20, 32 * 10**12)] == [
        "0 bytes", "1023 bytes", "1.0 KiB", "5.0 MiB", "29.1 TiB",
    ]  # fmt: skip
