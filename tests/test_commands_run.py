"""Options of `run` and `split` that choose what is done, and surroundings that change nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from command_bench import PERTHARNESS, Bench, pertharness
from pertharness.host.recipe import read_recipe


def test_name_out_and_parameters_are_what_the_options_say(bench: Bench, tmp_path: Path) -> None:
    asked = ["run", "--data", bench.folder / "screen.h5ad", "--store", bench.folder / "store", "--task", "single"]
    asked += ["--models", "linear[k=2, ridge=1],mean", "--scorers", "l2,pearson", "--seeds", "1,3", "--jobs", 2]
    pertharness(*asked, "--name", "mine", cwd=tmp_path)
    folder = tmp_path / "runs" / "mine"
    board = pd.read_csv(folder / "leaderboard.csv", keep_default_na=False)
    assert {*zip(board["model"], board["params"], strict=True)} == {("linear", "k=2, ridge=1"), ("mean", "")}
    assert {*board["task"]} == {"single"}
    assert {*board["metric"]} == {"l2", "pearson"}
    assert {*pd.read_csv(folder / "scores.csv.gz")["seed"]} == {1, 3}
    assert read_recipe(folder / "recipe.toml").seeds == (1, 3)
    assert "mine" in pertharness("list", "runs", "--folder", "runs", cwd=tmp_path).stdout


def test_a_limit_of_time_ends_a_job_and_retry_does_it_again(bench: Bench, tmp_path: Path) -> None:
    asked = ["run", "--data", bench.folder / "screen.h5ad", "--split", bench.folder / "split.json", "--models", "mean"]
    asked += ["--scorers", "l2", "--store", "store", "--out", "run"]
    shutil.copytree(bench.folder / "store", tmp_path / "store")
    for record in (tmp_path / "store" / "predictions").iterdir():
        shutil.rmtree(record)
    said = pertharness(*asked, "--timeout", "0.001", cwd=tmp_path, status=1)
    assert "timeout" in said.stdout
    assert "raise --timeout" in said.stderr
    board = pd.read_csv(tmp_path / "run" / "leaderboard.csv")
    assert {*board["state"]} == {"timeout"}
    # Without --retry the record stays; with it the job is done again.
    assert "; 0 of them done now" in pertharness(*asked, cwd=tmp_path, status=1).stdout
    pertharness(*asked, "--retry", "timeout", cwd=tmp_path)
    assert {*pd.read_csv(tmp_path / "run" / "leaderboard.csv")["state"]} == {"done"}


def test_split_writes_what_a_run_draws(bench: Bench, tmp_path: Path) -> None:
    split = bench.split
    assert (split["kind"], split["seed"]) == ("double", 1)
    parts = [set(split[part]) for part in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 21
    asked = ["run", "--data", bench.folder / "screen.h5ad", "--task", "double", "--seeds", 1, "--models", "mean"]
    pertharness(*asked, "--scorers", "l2", "--store", bench.folder / "store", "--out", "run", cwd=tmp_path)
    drawn = pd.read_csv(tmp_path / "run" / "scores.csv.gz")
    assert {*drawn["perturbation"]} == parts[2]
    given = pd.read_csv(bench.folder / "runs" / "screen" / "scores.csv.gz").query("model == 'mean' and metric == 'l2'")
    assert {*given["split"]} == {"file"}
    np.testing.assert_array_equal(*(x.sort_values(["perturbation", "variant"])["value"] for x in (drawn, given)))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s["train"].append(s["test"][0]), "in two parts|is in"),
        (lambda s: s["test"].append("NOSUCH"), "'NOSUCH' of test is not in the data"),
        (lambda s: s.pop("test"), "test"),
    ],
)
def test_a_split_that_does_not_fit_is_refused_with_the_name(
    change: Any, expected: str, bench: Bench, tmp_path: Path
) -> None:
    split = {part: list(bench.split[part]) for part in ("train", "val", "test")}
    doubled = split["test"][0]
    change(split)
    (tmp_path / "bad.json").write_text(json.dumps(split), encoding="utf-8")
    asked = ["run", "--data", bench.folder / "screen.h5ad", "--split", "bad.json", "--store", bench.folder / "store"]
    done = subprocess.run([PERTHARNESS, *map(str, asked)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode in (1, 2)
    text = done.stdout + done.stderr
    assert any(word in text for word in expected.split("|"))
    assert "bad.json" in text
    assert "Traceback" not in text
    if "two parts" in expected:
        assert repr(doubled) in text


def test_a_zarr_folder_is_a_screen_and_changes_with_what_is_in_it(bench: Bench, tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the next release writes
        anndata.read_h5ad(bench.folder / "screen.h5ad").write_zarr(tmp_path / "screen.zarr")
    asked = ["data", "check", "screen.zarr", "--store", "store"]  # one of its own: what it was made of changes
    said = pertharness(*asked, cwd=tmp_path).stdout
    of_h5ad = pertharness(
        "data", "check", bench.folder / "screen.h5ad", "--store", bench.folder / "store", cwd=tmp_path
    )
    assert "zarr folder" in said
    without_file = [[line for line in text.splitlines() if "  file  " not in line] for text in (said, of_h5ad.stdout)]
    assert without_file[0] == without_file[1]
    shutil.rmtree(tmp_path / "screen.zarr" / "X")
    assert "it has no X" in pertharness(*asked, cwd=tmp_path, status=1).stderr


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"TERM": None, "HOME": None},
        {"TERM": "dumb", "COLUMNS": "1"},
        {"COLUMNS": "abc", "NO_COLOR": "1"},
    ],
    ids=str,
)
def test_a_run_works_in_poor_surroundings(env: dict[str, str | None], bench: Bench, tmp_path: Path) -> None:
    asked = ["run", "--data", bench.folder / "screen.h5ad", "--split", bench.folder / "split.json"]
    said = pertharness(*asked, "--store", bench.folder / "store", "--out", "run", cwd=tmp_path, **env)
    assert "0 of them done now" in said.stdout.replace("\n", " ")
    board = bench.folder / "runs" / "screen" / "leaderboard.csv"
    assert (tmp_path / "run" / "leaderboard.csv").read_bytes() == board.read_bytes()


def test_a_reader_that_stops_reading_sees_no_error(tmp_path: Path) -> None:
    command = f"{PERTHARNESS} list models | head -n 1"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.startswith("additive")
    assert done.stderr == ""
