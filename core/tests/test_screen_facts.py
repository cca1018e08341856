"""What is said of a file before a run: the same as the run finds, from all labels and some of the cells."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pertharness.contract.errors import ChoiceError, DataError
from pertharness.data.canonical import pseudobulk
from pertharness.datasets import load_dataset
from pertharness.datasets.sampled_cells import MOST_FOR_ALL, draw_cells
from pertharness.datasets.scale import SAMPLED_CELLS
from pertharness.datasets.screen_facts import read_facts
from scipy import sparse

GENES = ["KLF1", "CEBPE", "SPI1", *(f"GENE{i}" for i in range(17))]
LABELS = ("ctrl", "KLF1+ctrl", "CEBPE+ctrl", "CEBPE+KLF1", "ABSENT+ctrl", "KLF1+CEBPE+SPI1", "multiplet", "nan")


def make_counts(n_cells: int) -> np.ndarray:
    return np.random.default_rng(0).poisson(3.0, (n_cells, len(GENES))).astype(np.float32)


def scale_to(counts: np.ndarray, total: float = 1e4) -> np.ndarray:
    logs: np.ndarray = np.log1p(counts / counts.sum(axis=1, keepdims=True) * total).astype(np.float32)
    return logs


def make_screen(n_cells: int = 80, values: np.ndarray | None = None, form: Any = sparse.csr_matrix) -> anndata.AnnData:
    """Cells with the labels in turn; the last eighth of each label is in another context."""
    values = scale_to(make_counts(n_cells)) if values is None else values
    labels = [LABELS[i % len(LABELS)] for i in range(n_cells)]
    obs = pd.DataFrame({"condition": labels}, index=[f"c{i}" for i in range(n_cells)])
    return anndata.AnnData(X=form(values), obs=obs, var=pd.DataFrame(index=GENES))


def write(adata: anndata.AnnData, folder: Path, name: str = "screen.h5ad", **options: Any) -> Path:
    adata.write_h5ad(folder / name, **options)
    return folder / name


@given(st.integers(1, 3_000_000))
def test_cells_are_drawn_over_the_whole_file(n_cells: int) -> None:
    cells = draw_cells(n_cells)
    assert (cells is None) == (n_cells <= MOST_FOR_ALL)
    if cells is None:
        return
    assert len(cells) >= SAMPLED_CELLS
    assert (np.diff(cells) > 0).all()
    assert (cells[0], cells[-1]) == (0, n_cells - 1)
    assert np.diff(cells).max() <= n_cells / 100  # no hundredth of the file is passed over


def test_all_labels_are_counted_and_what_is_left_out_has_its_reason(tmp_path: Path) -> None:
    adata = make_screen(80)  # ten of each label
    adata.obs["cell_line"] = ["K562"] * 64 + ["RPE1"] * 16  # two of each label are RPE1
    adata.obs["batch"] = [str(i % 3) for i in range(80)]
    adata.layers["counts"] = sparse.csr_matrix(make_counts(80))
    facts = read_facts(write(adata, tmp_path), {"context": "K562", "modality": "crispri"})
    assert "error" not in facts
    assert (facts["n_obs"], facts["n_genes"], facts["level"], facts["context"]) == (80, 20, "cells", "K562")
    assert (facts["modality"], facts["has_counts"]) == ("crispri", True)
    assert any(note.startswith("batches: 3 values of obs['batch']") for note in facts["notes"])
    assert facts["labels"]["column"] == "condition"
    assert facts["labels"]["controls"] == [{"label": "ctrl", "n_rows": 8}]
    assert facts["labels"]["separator"] == "+"
    assert facts["left_out"] == [{"n_rows": 16, "labels": ["multiplet", "nan"], "reason": "no perturbation"}]
    assert (facts["n_in_context"], facts["n_used"]) == (64, 48)
    # KLF1, CEBPE, SPI1 and ABSENT; the last is no gene of the file.
    assert facts["targets"] == {"n": 4, "n_genes": 3, "absent": ["ABSENT"]}
    assert {one["perturbation"]: one["n_cells"] for one in facts["perturbations"]} == dict.fromkeys(
        ["control", "KLF1", "CEBPE", "CEBPE+KLF1", "ABSENT", "CEBPE+KLF1+SPI1"], 8
    )
    assert facts["scale"]["n_judged"] == facts["scale"]["n_rows"] == 48


def test_conditions_that_are_not_asked_for_are_left_out_and_counted(tmp_path: Path) -> None:
    adata = make_screen(80)
    adata.obs["dose"] = np.repeat([1.0, 5.0], 40)  # five of each label
    path = write(adata, tmp_path)
    assert "--only dose=1" in read_facts(path, {})["error"]["message"]
    facts = read_facts(path, {"only": {"dose": "5"}})
    assert facts["labels"]["controls"] == [{"label": "ctrl", "n_rows": 5}]
    assert [one["n_rows"] for one in facts["left_out"]] == [20, 30]
    assert (facts["n_in_context"], facts["n_used"]) == (80, 30)


def test_the_facts_are_those_of_the_dataset_that_a_run_loads(tmp_path: Path) -> None:
    path = write(make_screen(), tmp_path)
    facts, dataset = read_facts(path, {}), load_dataset("h5ad", path, {})
    assert facts["notes"] == dataset.uns["pertharness"]["notes"].splitlines()
    means = pseudobulk(dataset.to_memory())
    found = [(one["perturbation"], one["label_given"], one["n_cells"]) for one in facts["perturbations"]]
    assert found == list(zip(means.obs["perturbation"], means.obs["label_given"], means.obs["n_cells"], strict=True))


def write_zarr(adata: anndata.AnnData, folder: Path) -> Path:
    pytest.importorskip("zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the next releases write
        adata.write_zarr(folder / "screen.zarr")
    return folder / "screen.zarr"


def write_h5mu(adata: anndata.AnnData, folder: Path) -> Path:
    with h5py.File(write(adata, folder)) as whole, h5py.File(folder / "screen.h5mu", "w") as file:
        file.attrs["encoding-type"] = "MuData"
        whole.copy(whole["/"], file.create_group("mod"), "rna")
    return folder / "screen.h5mu"


N_MANY = MOST_FOR_ALL * 2
CONTAINERS: dict[str, tuple[Callable[[Path], Path], str, str, str | None]] = {
    "csr": (lambda folder: write(make_screen(N_MANY), folder), "h5ad", "csr", None),
    "csr gzip": (lambda folder: write(make_screen(N_MANY), folder, compression="gzip"), "h5ad", "csr", "gzip"),
    "csc": (lambda folder: write(make_screen(N_MANY, form=sparse.csc_matrix), folder), "h5ad", "csc", None),
    "dense": (lambda folder: write(make_screen(N_MANY, form=np.asarray), folder), "h5ad", "dense", None),
    "dense gzip": (
        lambda folder: write(make_screen(N_MANY, form=np.asarray), folder, compression="gzip"), "h5ad", "dense", "gzip",
    ),
    "zarr": (lambda folder: write_zarr(make_screen(N_MANY), folder), "zarr folder", "csr", "any"),
    "h5mu": (lambda folder: write_h5mu(make_screen(N_MANY), folder), "h5mu", "csr", None),
}  # fmt: skip


@pytest.mark.parametrize("case", CONTAINERS)
def test_each_container_is_judged_by_the_same_cells(case: str, tmp_path: Path) -> None:
    make, container, layout, compression = CONTAINERS[case]
    facts = read_facts(make(tmp_path), {})
    assert "error" not in facts
    assert (facts["container"], facts["matrix"]["layout"]) == (container, layout)
    assert compression == "any" or facts["matrix"]["compression"] == compression
    cells = draw_cells(N_MANY * 6 // 8)  # two of eight labels are left out
    assert cells is not None
    assert (facts["scale"]["n_judged"], facts["scale"]["n_rows"]) == (len(cells), N_MANY * 6 // 8)
    assert "is 10 000 in each row" in facts["scale"]["read_as"]
    assert facts["labels"]["controls"] == [{"label": "ctrl", "n_rows": N_MANY // 8}]


def test_cells_that_are_not_looked_at_do_not_slip_past_a_run(tmp_path: Path) -> None:
    adata = make_screen(N_MANY, form=np.asarray)
    adata.obs["condition"] = ["ctrl", "KLF1", "CEBPE", "SPI1"] * (N_MANY // 4)
    cells = draw_cells(N_MANY)
    unseen = np.setdiff1d(np.arange(N_MANY), cells)
    adata.X[unseen[5], 3] = -1.0
    facts = read_facts(write(adata, tmp_path), {})
    assert "error" not in facts
    assert facts["scale"]["n_judged"] < facts["scale"]["n_rows"]
    with pytest.raises(DataError, match=f"-1.0 in row 'c{unseen[5]}'"):
        load_dataset("h5ad", tmp_path / "screen.h5ad", {})
    adata.X[cells[7], 4] = -2.0  # and one that is looked at is named by its own row
    facts = read_facts(write(adata, tmp_path, "again.h5ad"), {})
    assert f"-2.0 in row 'c{cells[7]}'" in facts["error"]["message"]


def median_normalised() -> anndata.AnnData:
    counts = make_counts(80)
    return make_screen(80, scale_to(counts, float(np.median(counts.sum(axis=1)))))


def two_columns() -> anndata.AnnData:
    adata = make_screen()
    adata.obs["target"] = ["ctrl", "KLF1"] * 40
    return adata


def with_missing_x() -> anndata.AnnData:
    adata = make_screen()
    adata.X = None
    return adata


BAD: dict[str, tuple[Callable[[], anndata.AnnData], dict[str, Any], str]] = {
    "another total": (median_normalised, {}, "data"),
    "raw counts": (lambda: make_screen(80, make_counts(80)), {}, "data"),
    "two label columns": (two_columns, {}, "choice"),
    "no such column": (make_screen, {"label_column": "absent"}, "data"),
    "no control": (make_screen, {"control_label": "absent"}, "data"),
    "no X": (with_missing_x, {}, "data"),
    "one perturbation": (lambda: make_screen()[[0, 1, 8, 9]].copy(), {}, "data"),
    "no option": (make_screen, {"colour": "blue"}, "data"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_a_run_refuses_is_refused_in_the_same_words(case: str, tmp_path: Path) -> None:
    make, params, kind = BAD[case]
    path = write(make(), tmp_path)
    with pytest.raises(DataError) as error:
        load_dataset("h5ad", path, params)
    facts = read_facts(path, params)
    assert facts["error"] == {"kind": kind, "message": str(error.value)}
    assert isinstance(error.value, ChoiceError) == (kind == "choice")


def test_what_was_understood_before_something_is_wrong_is_there(tmp_path: Path) -> None:
    facts = read_facts(write(median_normalised(), tmp_path), {})
    assert "--rescale" in facts["error"]["message"]
    assert facts["labels"]["separator"] == "+"
    assert facts["n_used"] == 60
    facts = read_facts(write(two_columns(), tmp_path, "other.h5ad"), {})
    assert facts["obs_columns"] == ["condition", "target"]
    assert "labels" not in facts


def test_the_process_writes_one_json_object_and_nothing_else(tmp_path: Path) -> None:
    asked = json.dumps({"file": str(write(make_screen(), tmp_path)), "params": {}})
    command = [sys.executable, "-I", "-m", "pertharness.datasets.screen_facts"]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["n_obs"] == 80
