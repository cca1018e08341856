"""Data files that cannot be used: what each command says of them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from command_bench import GENES, Bench, pertharness, screen


def relabelled(old: str, new: str) -> anndata.AnnData:
    adata = screen()
    adata.obs["condition"] = adata.obs["condition"].str.replace(old, new, regex=False)
    return adata


def of_values(change: Any) -> anndata.AnnData:
    adata = screen()
    adata.X = change(adata.X)
    return adata


def with_layer(adata: anndata.AnnData) -> anndata.AnnData:
    adata.layers["lognorm"] = screen().X
    return adata


def with_nan(values: np.ndarray) -> np.ndarray:
    values[3, 5] = np.nan
    return values


BAD = {
    "no control": (lambda: screen()[1:8].copy(), "--control-label"),
    "one perturbation": (lambda: screen()[:2].copy(), "at least 2"),
    "raw counts": (lambda: of_values(lambda x: np.round(np.expm1(x))), "--normalise"),
    "z-scores": (lambda: with_layer(of_values(lambda x: (x - x.mean(0)) / x.std(0))), "--layer"),
    "not finite": (lambda: of_values(with_nan), "'G05'"),
    "duplicate genes": (lambda: screen(var_names=["G00", *GENES[:39]]), "more than once"),
    "empty": (lambda: screen()[:0].copy(), "empty"),
    "colliding labels": (lambda: relabelled("G01+ctrl", "G01+G00"), "--merge-labels"),
    "texts for numbers": ("texts", "convert"),
    "other HDF5": ("hdf5", "HDF5 of another kind"),
    "cut short": ("cut", "cannot be read as h5ad"),
    "no bytes": ("nothing", "(0 bytes)"),
}  # fmt: skip


def write_bad(made: Any, path: Path) -> None:
    if callable(made):
        made().write_h5ad(path)
    elif made == "hdf5":
        with h5py.File(path, "w") as file:
            file["something"] = [1, 2, 3]
    elif made == "texts":
        screen().write_h5ad(path)
        with h5py.File(path, "r+") as file:
            values = file["X"][()].astype(str).astype(object)
            del file["X"]
            file.create_dataset("X", data=values, dtype=h5py.string_dtype())
            file["X"].attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
    elif made == "cut":
        screen().write_h5ad(path)
        os.truncate(path, path.stat().st_size // 2)
    else:
        path.touch()


@pytest.fixture(scope="module")
def bad_run(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one run over all the bad files and a good one."""
    folder = tmp_path_factory.mktemp("bad")
    for case, (made, _) in BAD.items():
        write_bad(made, folder / f"{case.replace(' ', '_')}.h5ad")
    shutil.copy(bench.folder / "screen.h5ad", folder / "good.h5ad")
    files = [word for path in sorted(folder.iterdir()) for word in ("--data", path.name)]
    asked = ["--seeds", 1, "--task", "double", "--models", "mean", "--scorers", "l2", "--name", "all"]
    pertharness("run", *files, *asked, "--store", bench.folder / "store", cwd=folder, status=1)
    return folder


@pytest.mark.parametrize("case", BAD)
def test_data_that_cannot_be_used_fail_with_the_remedy(case: str, bad_run: Path) -> None:
    manifest = json.loads((bad_run / "runs" / "all" / "manifest.json").read_text(encoding="utf-8"))
    name = case.replace(" ", "_")
    record = manifest["records"][manifest["datasets"][name]]
    assert record["state"] == "failed"
    assert BAD[case][1] in record["message"]
    assert name in record["message"]
    assert "Error" not in record["message"]  # it is said in words, not by the class of an exception


def test_bad_data_are_on_the_leaderboard_and_stop_no_other(bad_run: Path) -> None:
    board = pd.read_csv(bad_run / "runs" / "all" / "leaderboard.csv")
    states = board.groupby("dataset")["state"].unique().map(list).to_dict()
    assert states == {case.replace(" ", "_"): ["failed"] for case in BAD} | {"good": ["done"]}


@pytest.mark.parametrize("case", ["no control", "other HDF5"])
def test_data_check_refuses_with_the_remedy(case: str, bad_run: Path, bench: Bench) -> None:
    file = f"{case.replace(' ', '_')}.h5ad"
    said = pertharness("data", "check", file, "--store", bench.folder / "store", cwd=bad_run, status=1)
    assert BAD[case][1] in said.stderr
    assert said.stdout == ""


@pytest.mark.parametrize("file", ["absent.h5ad", "runs", "good.h5ad/x.h5ad"])
def test_data_that_are_not_there_are_a_mistake_in_the_options(file: str, bad_run: Path, bench: Bench) -> None:
    for command in (
        ["data", "check", file],
        ["run", "--data", file],
        ["split", file, "--kind", "double", "--out", "x"],
    ):
        said = pertharness(*command, "--store", bench.folder / "store", cwd=bad_run, status=2)
        assert "there is no file" in said.stderr
