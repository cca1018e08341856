"""Predictions made elsewhere: `score` as a user calls it."""

from __future__ import annotations

import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from command_bench import Bench, pertharness
from scipy import sparse


def score(bench: Bench, tmp_path: Path, predictions: anndata.AnnData, *more: str, status: int = 0) -> pd.DataFrame:
    predictions.write_h5ad(tmp_path / "p.h5ad")
    asked = ["score", "p.h5ad", "--data", bench.folder / "screen.h5ad", "--split", bench.folder / "split.json"]
    asked += ["--name", "mine", "--scorers", "l2", "--models", "additive,mean", "--store", bench.folder / "store"]
    pertharness(*asked, *more, "--out", "run", cwd=tmp_path, status=status)
    board = pd.read_csv(tmp_path / "run" / "leaderboard.csv")
    return board.query("variant == 'default' and stratum == 'all'").set_index("model")


def refused(bench: Bench, tmp_path: Path, predictions: anndata.AnnData) -> str:
    """Score predictions that cannot be used; return what stands on the standard error."""
    predictions.write_h5ad(tmp_path / "p.h5ad")
    asked = ["score", "p.h5ad", "--data", bench.folder / "screen.h5ad", "--split", bench.folder / "split.json"]
    asked += ["--name", "mine", "--scorers", "l2", "--models", "additive,mean", "--store", bench.folder / "store"]
    said = pertharness(*asked, "--out", "run", cwd=tmp_path, status=2).stderr
    assert not (tmp_path / "run").exists()
    return said


def held_out(bench: Bench) -> anndata.AnnData:
    """The observed means of what is held out, as predictions in a file of someone who knows nothing of our form."""
    truth = bench.truth
    rows = truth[truth.obs["perturbation"].isin(bench.split["test"])]
    obs = pd.DataFrame({"perturbation": rows.obs["perturbation"].astype(str).to_numpy()}, index=rows.obs_names)
    return anndata.AnnData(X=np.asarray(rows.X), obs=obs, var=pd.DataFrame(index=rows.var_names))


def test_the_truth_as_prediction_has_distance_zero_and_wins(bench: Bench, tmp_path: Path) -> None:
    board = score(bench, tmp_path, held_out(bench))
    assert board.loc["mine", "value"] == pytest.approx(0, abs=1e-9)
    assert board.loc["mine", ["plugin", "rank", "state"]].tolist() == ["file", 1, "done"]
    assert board.loc["additive", "rank"] == 2


def test_changes_from_the_control_are_refused_until_they_are_said_to_be(bench: Bench, tmp_path: Path) -> None:
    given, truth = held_out(bench), bench.truth
    change = np.asarray(given.X) - np.asarray(truth[truth.obs["perturbation"] == "control"].X)
    given.X = change / 20  # those of this screen are as large as the means
    assert "--prediction-kind change" in refused(bench, tmp_path, given)
    board = score(bench, tmp_path, given, "--prediction-kind", "change")
    expected = np.linalg.norm(change * 19 / 20, axis=1).mean()  # what is left of the change
    assert board.loc["mine", "value"] == pytest.approx(expected, rel=1e-6)


def test_genes_and_targets_may_come_in_any_order(bench: Bench, tmp_path: Path) -> None:
    given = held_out(bench)[:, np.random.default_rng(1).permutation(40)].copy()
    given.obs["perturbation"] = ["+".join(reversed(label.split("+"))) for label in given.obs["perturbation"]]
    given.X = sparse.csr_matrix(given.X)
    board = score(bench, tmp_path, given)
    assert board.loc["mine", "value"] == pytest.approx(0, abs=1e-9)
    assert board.loc["mine", "rank"] == 1


def test_a_missing_query_is_counted_and_not_filled(bench: Bench, tmp_path: Path) -> None:
    expected = len(bench.split["test"])
    assert expected == 3
    board = score(bench, tmp_path, held_out(bench)[1:].copy())
    assert board.loc["mine", ["scored", "expected"]].tolist() == [expected - 1, expected]
    assert np.isnan(board.loc["mine", "rank"])
    scores = pd.read_csv(tmp_path / "run" / "scores.csv.gz").query("model == 'mine' and variant == 'default'")
    missing = scores[scores["value"].isna()]
    assert missing["state"].tolist() == ["unanswered"]


def test_predictions_that_cannot_be_used_end_the_command(bench: Bench, tmp_path: Path) -> None:
    given = held_out(bench)
    given.var_names = ["G00"] * 40
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the names
        assert "duplicate gene 'G00'" in refused(bench, tmp_path, given)


def test_several_rows_of_a_perturbation_are_averaged(bench: Bench, tmp_path: Path) -> None:
    given = held_out(bench)
    apart = anndata.concat([given, given], index_unique="-")
    apart.X = np.asarray(apart.X) + np.repeat([[0.25], [-0.25]], given.n_obs, axis=0)
    board = score(bench, tmp_path, apart)
    assert board.loc["mine", "value"] == pytest.approx(0, abs=1e-9)


def test_predictions_may_not_take_the_name_of_a_model(bench: Bench, tmp_path: Path) -> None:
    held_out(bench).write_h5ad(tmp_path / "p.h5ad")
    asked = ["score", "p.h5ad", "--data", bench.folder / "screen.h5ad", "--split", bench.folder / "split.json"]
    said = pertharness(*asked, "--name", "mean", "--store", bench.folder / "store", cwd=tmp_path, status=2)
    assert "'mean'" in said.stderr
