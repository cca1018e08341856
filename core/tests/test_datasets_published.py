"""The published screens: offers that can be fetched, and loaders for the layouts of their files."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from pertharness.contract.errors import DataError
from pertharness.data.canonical import check_dataset
from pertharness.datasets import describe, load_dataset
from scipy import sparse

SCREENS = ("norman", "adamson", "replogle_k562", "replogle_rpe1")


def make_file(path: Path, *, ensembl_index: bool, totals: str | None) -> None:
    """Write a small file in the layout of GEARS (Ensembl index, counts) or of scFoundation (symbols, totals)."""
    rng = np.random.default_rng(0)
    labels = ["ctrl", "BHLHE40+ctrl", "ctrl+CREB1", "CREB1+ctrl", "DDIT3+ctrl", "BHLHE40+CREB1"] * 5
    counts = rng.poisson(3, (30, 4)).astype(np.float32) + 1
    obs = pd.DataFrame(
        {
            "condition": pd.Categorical(labels),
            "cell_type": pd.Categorical(["A549"] * 30),
            "dose_val": ["1+1"] * 30,
            "control": [int(label == "ctrl") for label in labels],
            "condition_name": pd.Categorical([f"A549_{label}_1+1" for label in labels]),
        },
        index=[f"cell{i}" for i in range(30)],
    )
    if totals:
        obs[totals] = counts.sum(axis=1) + 5
    symbols = ["BHLHE40", "CREB1", "DDIT3", "GAPDH"]
    ids = [f"ENSG{i:011d}" for i in range(4)]
    var = pd.DataFrame({"gene_name": symbols}, index=pd.Index(ids if ensembl_index else symbols, name="gene_id"))
    matrix = sparse.csr_matrix(np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4).astype(np.float32))
    layers = {"counts": sparse.csr_matrix(counts)} if ensembl_index else {}
    uns = {"rank_genes_groups_cov_all": {"A549_DDIT3+ctrl_1+1": np.array(["GAPDH"], dtype=object)}}
    anndata.AnnData(X=matrix, obs=obs, var=var, layers=layers, uns=uns).write_h5ad(path)


def test_each_screen_says_where_it_comes_from() -> None:
    offers = {offer.name: offer for offer in describe().datasets}
    for name in SCREENS:
        offer = offers[name]
        assert offer.source is not None
        assert offer.source.url.startswith("https://")
        assert offer.source.member is not None
        assert offer.source.member.endswith(".h5ad")
        assert offer.source.filename.endswith(".zip")
        assert "doi 10." in offer.reference
        assert offer.modality == ("crispra" if name == "norman" else "crispri")
    assert len({offers[name].source.filename for name in SCREENS}) == len(SCREENS)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", SCREENS)
@pytest.mark.parametrize(("ensembl_index", "totals"), [(True, None), (False, "total_count")])
def test_both_layouts_are_read(name: str, ensembl_index: bool, totals: str | None, tmp_path: Path) -> None:
    make_file(tmp_path / "perturb_processed.h5ad", ensembl_index=ensembl_index, totals=totals)
    adata = load_dataset(name, tmp_path / "perturb_processed.h5ad", {})
    check_dataset(adata, name)
    assert list(adata.var_names) == ["BHLHE40", "CREB1", "DDIT3", "GAPDH"]
    assert ("ensembl_id" in adata.var) == ensembl_index
    assert set(adata.obs["perturbation"]) == {"control", "BHLHE40", "CREB1", "DDIT3", "BHLHE40+CREB1"}
    # `ctrl+CREB1` and `CREB1+ctrl` are the same perturbation: pooled, and said.
    assert "pooled with another spelling of the same targets: 'CREB1+ctrl'" in adata.uns["pertharness"]["notes"]
    assert set(adata.obs["context"]) == {"RPE1" if name == "replogle_rpe1" else "K562"}
    assert "total_counts" in adata.obs
    fields = adata.uns["pertharness"]
    assert fields["name"] == name
    assert fields["level"] == "cells"
    assert "doi 10." in fields["origin"]


def test_a_screen_that_was_not_fetched_says_how() -> None:
    with pytest.raises(DataError, match="pertharness data fetch norman"):
        load_dataset("norman", None, {})


def test_a_screen_takes_no_parameters(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'adamson' has no parameter 'level'"):
        load_dataset("adamson", tmp_path / "x.h5ad", {"level": "cells"})


def test_a_file_of_raw_counts_is_refused(tmp_path: Path) -> None:
    make_file(tmp_path / "x.h5ad", ensembl_index=True, totals=None)
    adata = anndata.read_h5ad(tmp_path / "x.h5ad")
    adata.X = adata.layers["counts"]
    adata.write_h5ad(tmp_path / "x.h5ad")
    with pytest.raises(DataError, match="dataset 'adamson': X holds only integers"):
        load_dataset("adamson", tmp_path / "x.h5ad", {})
