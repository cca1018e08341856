"""scFoundation on the demo, in its own environment and sandboxed, with a checkpoint of random weights."""

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
WRITE = "import sys; from pathlib import Path; from pertharness_scfoundation.tiny import write_tiny; "
WRITE += "write_tiny(Path(sys.argv[1]), sys.stdin.read().split())"

pytestmark = [pytest.mark.models, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Parameters that name a tiny checkpoint with the demo's genes, written in the plugin's environment."""
    done = subprocess.run([PERTHARNESS, "env", "build", f"{ROOT}/plugins/scfoundation"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = open_folder()
    environment = folder.current("scfoundation")
    assert environment is not None
    path = tmp_path_factory.mktemp("tiny")
    demo = load_dataset("demo", store=path / "store", progress=False, **DEMO)
    genes = "\n".join(demo.var_names)
    subprocess.run([folder.python(environment), "-c", WRITE, path], input=genes, text=True, check=True)
    files = {"checkpoint": "models.ckpt", "gene_list": "OS_scRNA_gene_index.19264.tsv"}
    return ", ".join(f"{name}={path / file}" for name, file in files.items())


@pytest.fixture(scope="module")
def run(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the model in both procedures, and of its embedding, beside baselines; fitted models are kept."""
    folder = tmp_path_factory.mktemp("run")
    models = [
        "no_change", "additive", "mean", f"scfoundation[{tiny}, epochs=1]",
        f"scfoundation[{tiny}, epochs=1, procedure=corrected]", f"linear[G=embed:scfoundation[{tiny}]]",
    ]  # fmt: skip
    recipe = f"""
name = "tiny"
seeds = [1]
models = {json.dumps(models)}
scorers = ["l2", "pearson_delta"]
environments = {{ scfoundation = "{ROOT}/plugins/scfoundation" }}
datasets.demo.params = {{ n_genes = {DEMO["n_genes"]}, n_cells = {DEMO["n_cells"]} }}
[[tasks]]
split = {{ kind = "double" }}
[[tasks]]
split = {{ kind = "unseen", folds = 5 }}
"""
    (folder / "tiny.toml").write_text(recipe, encoding="utf-8")
    command = [PERTHARNESS, "run", "tiny.toml", "--store", "store", "--out", "run", "--keep-models"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.parametrize(("task", "with_its_embedding"), [("double", 0), ("single", 1)])
def test_both_procedures_and_the_embedding_stand_beside_the_baselines(
    run: Path, task: str, with_its_embedding: int
) -> None:
    rows = pd.read_csv(run / "run" / "leaderboard.csv").query(f"{USUAL} and task == '{task}' and state == 'done'")
    assert (rows["scored"] == rows["expected"]).all()
    tested = rows[rows["model"].str.endswith("(test weights)")]
    assert tested["model"].str.startswith("scfoundation").sum() == 2
    assert tested["model"].str.startswith("linear").sum() == with_its_embedding  # it has no answer to doubles
    assert tested["rank"].isna().all()
    assert rows["value"].nunique() == len(rows) > len(tested)


def test_the_record_says_what_was_loaded_and_keeps_the_fitted_model(run: Path) -> None:
    manifest = json.loads((run / "run" / "manifest.json").read_text(encoding="utf-8"))
    attempts = [each for each in manifest["attempts"] if each["model"].startswith("scfoundation")]
    assert len(attempts) > 2
    for attempt in attempts:
        record = run / "store" / "predictions" / attempt["prediction"]
        status = (record / "status.json").read_text(encoding="utf-8")
        assert "48 tensors loaded, 0 ignored, 0 fresh" in status
        assert f"genes: {DEMO['n_genes']} of {DEMO['n_genes']} are in the model's vocabulary" in status
        assert (record / "model.zip").is_file()
