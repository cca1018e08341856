"""What `import pertharness` offers: runs, data, splits, scores and comparisons without the command line."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pandas as pd
import pertharness as ph
import pytest
from command_bench import GENES, PERTHARNESS, screen
from door_bench import FEW, Door

SINGLES = GENES[:8]


def test_a_run_is_that_of_the_command_line(door: Door) -> None:
    asked = ["run", "--data", "screen.h5ad", "--seeds", "1,2", "--models", "no_change,additive", "--scorers", "l2"]
    places = ["--store", "store", "--out", "runs/command"]
    done = subprocess.run([PERTHARNESS, *asked, *places], cwd=door.folder, capture_output=True, text=True, check=True)
    assert "; 0 of them done now" in done.stdout
    for name in ("leaderboard.csv", "scores.csv.gz", "leaderboard.md", "recipe.toml"):
        assert (door.run.folder / name).read_bytes() == (door.folder / "runs" / "command" / name).read_bytes()


def test_its_tables_are_frames(door: Door) -> None:
    run = door.run
    assert run.folder == door.folder / "runs" / "screen"
    assert {*run.leaderboard["model"]} == {"no_change", "additive"}
    values = run.scores.query("task == 'double' and state == 'done'")["value"]
    assert len(values)
    assert np.isfinite(values).all()
    assert {"wall_s", "peak_rss_mb"} <= {*run.costs.columns}
    assert [*run.tables] == [*json.loads((run.folder / "manifest.json").read_text())["tables"]]
    for name, table in run.tables.items():
        assert len(table) == run.manifest["tables"][name]["rows"]
    assert run.report.is_file()
    assert not run.failed
    assert run.states["done"] > 0
    assert ph.load_run("screen") == run


def test_a_prediction_is_an_anndata(door: Door) -> None:
    prediction = door.run.predictions("additive", task="double", seed=2)
    split = ph.make_split(door.folder / "screen.h5ad", "double", 2, store=door.store, progress=False)
    assert [*prediction.obs["perturbation"]] == split.test
    assert [*prediction.var_names] == GENES
    assert prediction.X.dtype == np.float64
    truth = ph.load_dataset("screen.h5ad", store=door.store, progress=False)
    means = dict(zip(truth.obs["perturbation"], np.asarray(truth.X, dtype=float), strict=True))
    first, second = split.test[0].split("+")
    np.testing.assert_allclose(prediction.X[0], means[first] + means[second] - means["control"], atol=1e-5)


def test_a_run_shows_its_leaderboard_in_a_notebook(door: Door) -> None:
    shown = door.run._repr_html_()
    assert shown.count("<table>") == 2
    assert "<td>additive</td>" in shown
    assert repr(door.run).startswith("Run('screen' in ")


def test_a_number_leads_to_its_record(door: Door) -> None:
    key = door.run.scores.query("state == 'done'")["record"].iloc[0]
    record = door.run.record(key[:16])
    assert (record.key, record.stage, record.job.name) == (key, "scores", "l2")
    assert record.status is not None
    assert record.status.state == "done"
    assert record.files["scores.csv"].is_file()


def test_a_dataset_comes_in_the_canonical_form(door: Door) -> None:
    adata = ph.load_dataset("screen.h5ad", store=door.store, progress=False)
    assert [*adata.obs["perturbation"]][:2] == ["control", SINGLES[0]]
    assert adata.uns["pertharness"]["level"] == "pseudobulk"
    same = ph.load_dataset(screen(), store=door.store, progress=False)
    np.testing.assert_array_equal(np.asarray(same.X), np.asarray(adata.X))
    small = ph.load_dataset("demo", n_genes=50, n_singles=2, n_doubles=1, n_controls=5, n_cells=3, store=door.store,
                            progress=False)  # fmt: skip
    assert small.shape[1] == 50
    assert {*small.obs["perturbation"]} > {"control"}


def test_a_split_is_that_of_the_command_line_and_can_be_run(door: Door) -> None:
    asked = ["split", "screen.h5ad", "--kind", "double", "--seed", "7", "--out", "split.json", "--store", "store"]
    subprocess.run([PERTHARNESS, *asked], cwd=door.folder, capture_output=True, check=True)
    adata = ph.load_dataset("screen.h5ad", store=door.store, progress=False)
    split = ph.make_split(adata, "double", 7)
    assert split.hash == json.loads((door.folder / "split.json").read_text())["hash"]
    again = ph.load_dataset(adata, store=door.store, progress=False)
    pd.testing.assert_frame_equal(again.obs, adata.obs)
    np.testing.assert_array_equal(np.asarray(again.X), np.asarray(adata.X))
    run = ph.run(data="screen.h5ad", split=split, out="runs/split", store="store", **FEW)
    assert {*run.scores.query("state == 'done'")["perturbation"]} == {*split.test}


def test_what_is_in_memory_runs_as_its_file_does(door: Door) -> None:
    run = ph.run(data={"screen": screen()}, seeds="1-2", out="runs/memory", store="store", **FEW)
    pd.testing.assert_frame_equal(run.leaderboard, door.run.leaderboard)
    again = ph.run(data={"screen": screen()}, seeds=(1, 2), out="runs/memory", store="store", **FEW)
    assert again.manifest["records"].keys() == run.manifest["records"].keys()


def test_predictions_from_elsewhere_are_scored(door: Door) -> None:
    truth = ph.load_dataset("screen.h5ad", store=door.store, progress=False)
    split = ph.make_split(truth, "double", 1)
    perfect = truth[truth.obs["perturbation"].isin(split.test)].copy()
    door.run.predictions("additive", task="double", seed=1).write_h5ad("additive.h5ad")
    scores = ph.score(
        {"perfect": perfect, "mine": "additive.h5ad"}, "screen.h5ad", split, scorers="l2", store="store", progress=False
    )
    usual = scores[scores["variant"] == "default"].pivot(index="perturbation", columns="model", values="value")
    assert {*usual.columns} == {"perfect", "mine", "additive"}
    assert {*usual.index} == {*split.test}
    np.testing.assert_allclose(usual["perfect"], 0, atol=1e-5)
    np.testing.assert_array_equal(usual["mine"], usual["additive"])
    alone = ph.score(perfect, truth, split, name="p", scorers="l2", store="store", out="runs/p", progress=False)
    assert {*alone["model"]} == {"p", "additive"}
    assert ph.load_run("p").report.is_file()


def test_two_runs_are_compared(door: Door) -> None:
    same = ph.compare(door.run, door.run)
    assert same.comparable
    assert not len(same.different_scores)
    assert not len(same.inputs)
    assert not len(same.versions)
    other = ph.run(data="screen.h5ad", seeds=3, out="runs/other", store="store", **FEW)
    compared = ph.compare("screen", other)
    assert not compared.comparable
    assert "screen double: NOT COMPARABLE: other split seeds: 1, 2 against 3" in repr(compared)
    assert compared.scores["difference"].isna().all()
    done = subprocess.run(
        [PERTHARNESS, "compare", "screen", "runs/other"], cwd=door.folder, capture_output=True, text=True, check=True
    )
    assert "NOT COMPARABLE" in done.stdout
    assert "split screen double seed 3: - | " in done.stdout


def test_runs_with_other_models_are_compared_on_those_of_both(door: Door) -> None:
    more = {**FEW, "models": "no_change,mean"}
    other = ph.run(data="screen.h5ad", seeds=[1, 2], out="runs/more", store="store", **more)
    compared = ph.compare(door.run, other)
    assert compared.comparable
    assert {*compared.compared["model"]} == {"no_change"}
    assert not len(compared.different_scores)
    assert {*compared.inputs["name"]} == {"additive", "mean"}


def test_a_job_that_fails_is_no_exception(door: Door) -> None:
    run = ph.run(data="demo", tasks="double", seeds=1, timeout_s=0.001, out="runs/failed", store="other-store", **FEW)
    assert {failure.state for failure in run.failed} == {"timeout"}
    assert any(failure.title == "dataset demo" for failure in run.failed)
    assert "timeout" in run._repr_html_()
    with pytest.raises(ph.DataError, match="timeout"):
        run.predictions("no_change", task="double", seed=1)
