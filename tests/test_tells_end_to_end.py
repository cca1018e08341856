"""Predictions that a reader has to look at twice, from files to every table of a run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from pertharness import CONTROL, make_prediction
from pertharness.data.canonical import pseudobulk, write
from pertharness.datasets.demo import load_demo

PERTHARNESS = shutil.which("pertharness", path=str(Path(sys.executable).parent)) or "pertharness is not installed"
RECIPE = """
name = "tells"
seeds = "1"
scorers = ["l2"]
models = ["mean", "no_change", "linear"]

[datasets.demo]
offer = "h5ad"
file = "screen.h5ad"

[[tasks]]
split = { kind = "unseen" }

[comparison]
calibrate = true
resamples = 100
"""


@dataclass(frozen=True)
class Run:
    folder: Path
    shown: str
    board: pd.DataFrame

    def read(self, name: str) -> str:
        return " ".join((self.folder / "run" / name).read_text(encoding="utf-8").split())


def command(folder: Path) -> str:
    words = [PERTHARNESS, "run", "recipe.toml", "--store", "store", "--out", "run"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def predictions(means: anndata.AnnData) -> dict[str, Callable[[str], np.ndarray]]:
    """Return what each file answers to a query."""
    rows = {label: np.asarray(means.X)[row] for row, label in enumerate(means.obs["perturbation"].astype(str))}
    average = np.mean([*rows.values()], axis=0)
    names = sorted(rows.keys() - {CONTROL})
    half = np.where(np.arange(means.n_vars) % 2, np.nan, 1.0)
    return {
        "sees_the_truth": lambda query: rows[query],
        "alike": lambda query: average,
        "copies": lambda query: rows[names[names.index(query) - 1]],
        "half_of_the_genes": lambda query: rows[CONTROL] * half + 0.01 * names.index(query),
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("tells")
    screen = load_demo(
        "demo", None, {"n_genes": 200, "n_singles": 20, "n_doubles": 0, "n_controls": 100, "n_cells": 60}
    )
    write(screen, folder / "screen.h5ad")
    means = pseudobulk(screen)
    queries = [label for label in means.obs["perturbation"].astype(str) if label != CONTROL]
    recipe = RECIPE
    for name, answer in predictions(means).items():
        given = make_prediction({query: answer(query) for query in queries}, means.var_names)
        kept = ~np.isnan(given.X).any(axis=0)
        write(given[:, kept].copy(), folder / f"{name}.h5ad")
        recipe += f'\n[[predictions]]\nname = "{name}"\nfile = "{name}.h5ad"\n'
    (folder / "recipe.toml").write_text(recipe, encoding="utf-8")
    shown = " ".join(command(folder).split())
    board = pd.read_csv(folder / "run" / "leaderboard.csv", keep_default_na=False)
    return Run(folder, shown, board[(board["stratum"] == "all") & (board["variant"] == "default")].set_index("model"))


def test_each_is_told_for_what_it_is_and_nothing_else(run: Run) -> None:
    assert run.board["tells"].to_dict() == {
        "sees_the_truth": "too good", "alike": "all alike", "copies": "copies training", "half_of_the_genes": "",
        "linear": "", "mean": "constant by design", "no_change": "constant by design; copies by design",
        "technical_duplicate": "",
    }  # fmt: skip


def test_coverage_is_that_of_the_file(run: Run) -> None:
    coverage = run.board["coverage"].to_dict()
    assert coverage.pop("technical_duplicate") == ""
    assert {model: float(share) for model, share in coverage.items()} == {
        **dict.fromkeys(coverage, 1.0), "half_of_the_genes": 0.5,
    }  # fmt: skip


def test_every_table_shows_it(run: Run) -> None:
    page, report = run.read("leaderboard.md"), run.read("report/index.html")
    assert re.search(r"\| sees_the_truth \| 0\.00\d*! \[", page)
    assert re.search(r"\| half_of_the_genes \| \S+\\~ \[.*?\| 50 % \|", page)
    for text in (page, report, run.shown):
        for words in (
            "sees_the_truth: too good (l2, l2 (no-targets), ",
            "alike: all alike: it gave the same answer to all queries in 1 of 1 predictions",
            "copies: copies training: ",
            "constant by design",
            "does not predict all genes",
        ):
            assert words in text


def test_a_run_again_reads_no_prediction_and_gives_the_same_bytes(run: Run) -> None:
    before = (run.folder / "run" / "leaderboard.csv").read_bytes()
    memories = {path: path.stat().st_mtime_ns for path in (run.folder / "store" / "facts").iterdir()}
    command(run.folder)
    assert (run.folder / "run" / "leaderboard.csv").read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in (run.folder / "store" / "facts").iterdir()} == memories
