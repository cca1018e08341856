"""Foundation models on the demo, each in its own environment and sandboxed, with checkpoints of random weights."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from pertharness import load_dataset
from pertharness.host.environments.folder import open_folder

ROOT = Path(__file__).parents[1]
PERTHARNESS = shutil.which("pertharness", path=str(Path(sys.executable).parent)) or "pertharness is not installed"
USUAL = "metric == 'l2' and variant == 'default' and stratum == 'all'"
DEMO = {"n_genes": 200, "n_cells": 20}
UNKNOWN = 3
"""Genes of the demo that are not in the vocabularies."""
WRITE = "import sys; from pathlib import Path; from pertharness_scgpt.tiny import write_tiny; "
WRITE += "write_tiny(Path(sys.argv[1]), sys.stdin.read().split())"

pytestmark = [pytest.mark.models, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Parameters that name a tiny checkpoint with most of the demo's genes, written in the plugin's environment."""
    done = subprocess.run([PERTHARNESS, "env", "build", f"{ROOT}/plugins/scgpt"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = open_folder()
    environment = folder.current("scgpt")
    assert environment is not None
    path = tmp_path_factory.mktemp("tiny")
    demo = load_dataset("demo", store=path / "store", progress=False, **DEMO)
    genes = "\n".join(demo.var_names[:-UNKNOWN])
    subprocess.run([folder.python(environment), "-c", WRITE, path], input=genes, text=True, check=True)
    files = {"checkpoint": "best_model.pt", "vocabulary": "vocab.json", "arguments": "args.json"}
    return ", ".join(f"{name}={path / file}" for name, file in files.items())


@pytest.fixture(scope="module")
def run(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the model in both procedures, and of its embedding, beside baselines."""
    folder = tmp_path_factory.mktemp("run")
    short = f"{tiny}, epochs=1, lr=0.01"
    models = [
        "no_change", "additive", "mean", f"scgpt[{short}]", f"scgpt[{short}, procedure=corrected, max_seq_len=100]",
        f"linear[G=embed:scgpt[{tiny}]]",
    ]  # fmt: skip
    recipe = f"""
name = "tiny"
seeds = [1]
models = {json.dumps(models)}
scorers = ["l2", "pearson_delta"]
environments = {{ scgpt = "{ROOT}/plugins/scgpt" }}
datasets.demo.params = {{ n_genes = {DEMO["n_genes"]}, n_cells = {DEMO["n_cells"]} }}
[[tasks]]
split = {{ kind = "double" }}
[[tasks]]
split = {{ kind = "unseen", folds = 5 }}
"""
    (folder / "tiny.toml").write_text(recipe, encoding="utf-8")
    command = [PERTHARNESS, "run", "tiny.toml", "--store", "store", "--out", "run"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def board(run: Path, task: str) -> pd.DataFrame:
    rows = pd.read_csv(run / "run" / "leaderboard.csv").query(USUAL)
    return rows[rows["task"] == task]


def test_both_procedures_predict_beside_the_baselines(run: Path) -> None:
    doubles = board(run, "double")
    ours = doubles[doubles["model"] == "scgpt (test weights)"]
    assert len(ours) == 2
    answering = pd.concat([ours, doubles[doubles["model"].isin(["no_change", "additive", "mean"])]])
    assert set(answering["state"]) == {"done"}, list(answering["note"])
    assert (answering["scored"] == answering["expected"]).all()
    assert answering["value"].nunique() == 5
    singles = board(run, "single")
    done = set(singles.loc[singles["state"] == "done", "model"])
    assert {"scgpt (test weights)", "linear (test weights)", "mean"} <= done


def test_the_record_says_what_was_loaded_and_which_genes_are_known(run: Path) -> None:
    manifest = json.loads((run / "run" / "manifest.json").read_text(encoding="utf-8"))
    records = {each["prediction"]: each["model"] for each in manifest["attempts"] if each["model"].startswith("scgpt")}
    assert len(records) > 2
    for key in records:
        status = (run / "store" / "predictions" / key / "status.json").read_text(encoding="utf-8")
        assert f"genes: {DEMO['n_genes'] - UNKNOWN} of {DEMO['n_genes']} are in the model's vocabulary" in status
        assert "33 tensors loaded, 10 ignored, 22 fresh" in status or "39 tensors loaded, 4 ignored, 16 fresh" in status
