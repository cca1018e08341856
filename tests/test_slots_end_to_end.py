"""Embeddings in the slots of a model, from a recipe beside its files to the leaderboard."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pertharness.data.expression import read
from pertharness.datasets import load_dataset
from pertharness.datasets.demo import DEMO
from pertharness_baselines.linear import fit_linear, predict_linear

PERTHARNESS = shutil.which("pertharness", path=str(Path(sys.executable).parent)) or "pertharness is not installed"
SIZE = {"n_genes": 120, "n_singles": 24, "n_doubles": 4, "n_controls": 60, "n_cells": 15}
RECIPE = """
name = "slots"
seeds = [1]
models = [
  "mean", "linear", "linear[G=embed:scgpt]", "linear[P=table:data/genes.csv]", "linear[P=spectral:data/go.csv[k=3]]",
  "linear[G=random, P=embed:identity]", "linear[P=transfer:one]", "linear[P=transfer:two[k=4]]",
  "linear[P=table:bad.csv]",
]
scorers = ["l2"]
datasets.one.offer = "demo"
datasets.one.params = { %s }
datasets.two.offer = "demo"
datasets.two.params = { replicate = 1, %s }
[[tasks]]
split = { kind = "unseen" }
"""


def pertharness(*arguments: object, cwd: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([PERTHARNESS, *map(str, arguments)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == status, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert "Traceback" not in done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, whose recipe and files lie in ``here``, made from a folder beside that."""
    root = tmp_path_factory.mktemp("slots")
    for name in ("here/data", "elsewhere"):
        (root / name).mkdir(parents=True)
    adata = load_dataset("demo", None, {**DEMO.params, **SIZE})
    singles = [label for label in adata.obs["perturbation"].cat.categories if label != "control" and "+" not in label]
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(len(singles) // 2, 2)), index=singles[::2])
    table.to_csv(root / "here/data/genes.csv")
    pd.concat([table, table.iloc[:1]]).to_csv(root / "here/bad.csv")
    edges = [(a, b, rng.uniform()) for i, a in enumerate(singles) for b in singles[i:]]
    pd.DataFrame(edges, columns=["source", "target", "importance"]).to_csv(root / "here/data/go.csv", index=False)
    size = ", ".join(f"{name} = {value}" for name, value in SIZE.items())
    (root / "here/slots.toml").write_text(RECIPE % (size, size))
    pertharness("run", "../here/slots.toml", "--store", root / "store", "--out", root / "run", "--jobs", 2,
                cwd=root / "elsewhere", status=1)  # fmt: skip
    return root


def leaderboard(folder: Path) -> pd.DataFrame:
    board = pd.read_csv(folder / "leaderboard.csv", keep_default_na=False)
    return board.query("model == 'linear' and variant == 'default' and stratum == 'all'").set_index(
        ["dataset", "params"]
    )


def test_each_model_has_its_state_under_the_name_that_the_recipe_gives_it(place: Path) -> None:
    board = leaderboard(place / "run")
    states = {name: set(board.xs(name, level="params")["state"]) for name in board.index.unique("params")}
    assert states == {
        "": {"done"}, "G=embed:scgpt": {"skipped"}, "P=table:genes.csv": {"done"}, "P=spectral:go.csv[k=3]": {"done"},
        "G=random, P=embed:identity": {"done"}, "P=transfer:one": {"done", "skipped"},
        "P=transfer:two[k=4]": {"done", "skipped"}, "P=table:bad.csv": {"failed"},
    }  # fmt: skip
    notes = {index: row["note"] for index, row in board.iterrows()}
    assert "not installed: embedding 'scgpt'" in notes["one", "G=embed:scgpt"]
    assert "'transfer:one' is the task's own screen" in notes["one", "P=transfer:one"]
    assert "'transfer:two[k=4]' is the task's own screen" in notes["two", "P=transfer:two[k=4]"]
    assert "has more than one row" in notes["one", "P=table:bad.csv"]


def test_a_target_without_a_row_is_a_query_not_answered(place: Path) -> None:
    board = leaderboard(place / "run")
    assert board.loc[("one", ""), "scored"] == board.loc[("one", ""), "expected"]
    scored, expected = board.loc[("one", "P=table:genes.csv"), ["scored", "expected"]]
    assert 0 < scored < expected


def test_the_prediction_is_that_of_the_functions_on_the_records(place: Path) -> None:
    manifest = json.loads((place / "run/manifest.json").read_text())
    (attempt,) = (
        one for one in manifest["attempts"] if (one["dataset"], one["params"]) == ("one", "P=transfer:two[k=4]")
    )
    store = place / "store"
    found = read(store / "predictions" / attempt["prediction"] / "prediction.h5ad")
    train = read(store / "splits" / attempt["split"] / "train.h5ad")
    other = read(store / "datasets" / manifest["datasets"]["two"] / "pseudobulk.h5ad")
    centred = other.X - other.X.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    table = pd.DataFrame(left[:, :4] * singular[:4], index=list(other.obs["perturbation"]))
    queries = list(found.obs["perturbation"])
    expected = predict_linear(fit_linear(train, {"P": table}), list(train.var_names), queries)
    np.testing.assert_allclose(found.X, expected.X, rtol=0, atol=1e-9)
    assert queries


def test_the_recipe_that_a_run_leaves_finds_the_files_from_anywhere(place: Path) -> None:
    said = pertharness(
        "run", place / "run/recipe.toml", "--store", place / "store", "--out", place / "again", cwd=place, status=1
    )
    assert "; 0 of them done now" in said.stdout
    assert (place / "again/leaderboard.csv").read_bytes() == (place / "run/leaderboard.csv").read_bytes()


def test_on_the_command_line_an_unknown_embedding_is_an_error_and_a_file_starts_where_one_is(place: Path) -> None:
    run = ["run", place / "here/slots.toml", "--store", place / "store", "--out", place / "more"]
    said = pertharness(*run, "--models", "linear[P=spectal:go.csv]", cwd=place / "here/data", status=2)
    assert "there is no embedding 'spectal'; did you mean 'spectral'?" in said.stderr
    said = pertharness(*run, "--models", "mean,linear[P=spectral:go.csv[k=3]]", cwd=place / "here/data")
    assert "; 0 of them done now" in said.stdout
    said = pertharness(*run, "--models", "linear[P=spectral:go.csv]", cwd=place / "here", status=2)
    assert f"there is no file '{place}/here/go.csv'" in said.stderr
