"""Models of three environments on one leaderboard: the baselines here, GEARS and CPA each with its own lock."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from packaging.utils import canonicalize_name
from pertharness.data.canonical import open_stored, read
from pertharness.worker.landlock import abi_version

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("PERTHARNESS_SHARED") or ROOT.parent / "shared")
SCREENS = sorted((SHARED / "data").glob("*.h5ad"))
PERTHARNESS = shutil.which("pertharness", path=str(Path(sys.executable).parent)) or "pertharness is not installed"
USUAL = "metric == 'l2' and variant == 'default' and stratum == 'all'"
# Training is cut short: what it is worth is another question.
BASELINES = '"no_change", "additive", "mean", "linear", '
GEARS, CPA = "gears[epochs=1, hidden_size=16]", "cpa[max_epochs=5]"
RECIPE = f"""
name = "together"
seeds = [1]
models = [{BASELINES}"{GEARS}", "{CPA}"]
scorers = ["l2", "pearson_delta"]
environments = {{ gears = "{ROOT}/plugins/gears", cpa = "{ROOT}/plugins/cpa" }}
datasets.demo.params = {{ n_genes = 400, n_cells = 20 }}
[[tasks]]
split = {{ kind = "double" }}
[[tasks]]
split = {{ kind = "unseen", folds = 5 }}
"""

pytestmark = [pytest.mark.models, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Run:
    manifest: dict[str, Any]
    board: pd.DataFrame
    printed: str


def run_in(folder: Path, *words: str) -> Run:
    command = [PERTHARNESS, "run", *words, "--store", "store", "--out", "run"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads((folder / "run" / "manifest.json").read_text(encoding="utf-8"))
    return Run(manifest, pd.read_csv(folder / "run" / "leaderboard.csv").query(USUAL), done.stdout)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("together")
    (folder / "together.toml").write_text(RECIPE, encoding="utf-8")
    return run_in(folder, "together.toml", "--build")


def test_one_run_scores_the_models_of_three_environments(together: Run) -> None:
    doubles = together.board[together.board["task"] == "double"].set_index("model")
    assert set(doubles.index) == {"no_change", "additive", "mean", "linear", "gears", "cpa"}
    answering = ["no_change", "additive", "mean", "gears", "cpa"]
    for model in answering:
        assert doubles.loc[model, "state"] == "done"
        assert doubles.loc[model, "scored"] == doubles.loc[model, "expected"] > 0
    assert doubles.loc[answering, "value"].nunique() == 5
    singles = together.board[together.board["task"] == "single"].set_index("model")
    assert singles.loc["gears", "scored"] == singles.loc["gears", "expected"] > 0
    assert singles.loc["cpa", "state"] == "skipped"
    assert "does not predict singles (its card: double)" in singles.loc["cpa", "note"]


@pytest.mark.parametrize(("name", "python"), [("gears", "3.11."), ("cpa", "3.10.")])
def test_the_manifest_has_the_versions_of_each_lock(together: Run, name: str, python: str) -> None:
    plugin = together.manifest["plugins"][name]
    assert plugin["python_version"].startswith(python)
    text = (ROOT / "plugins" / name / "src" / f"pertharness_{name}" / "requirements.lock").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    locked = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines}
    # Where the package is from, as in torch's 2.13.0+cpu, is not in a lock.
    found = {canonicalize_name(package): version.split("+")[0] for package, version in plugin["packages"].items()}
    assert found.items() >= locked.items()
    assert set(found) - set(locked) == {"pertharness", f"pertharness-{name}"}
    here = together.manifest["plugins"]["baselines"]
    assert here["python_version"] == ".".join(map(str, sys.version_info[:3]))
    assert here["packages"]["numpy"] != plugin["packages"]["numpy"]


@pytest.mark.skipif(not abi_version(), reason="this kernel has no Landlock")
def test_the_sandbox_changes_no_number(together: Run, tmp_path: Path) -> None:
    recipe = RECIPE.replace(BASELINES, "").partition('[[tasks]]\nsplit = { kind = "unseen"')[0]
    (tmp_path / "open.toml").write_text(recipe, encoding="utf-8")
    run = run_in(tmp_path, "open.toml", "--isolation", "none")
    stores = Path(together.manifest["store"]), tmp_path / "store"
    compared = []
    for attempt in run.manifest["attempts"]:
        records = [store / "predictions" / attempt["prediction"] for store in stores]
        made = [json.loads((record / "status.json").read_bytes())["isolation"] for record in records]
        assert [isolation["mechanism"] for isolation in made] == ["landlock", "none"]
        assert [what for what in made[0]["partial"] if not what.startswith("/dev/shm")] == []
        inside, outside = (read(record / "prediction.h5ad") for record in records)
        pd.testing.assert_index_equal(inside.obs_names, outside.obs_names)
        np.testing.assert_array_equal(inside.X, outside.X)  # to the bit
        compared.append(attempt["model"])
    assert compared == ["gears", "cpa"]


@pytest.mark.reference
@pytest.mark.skipif(not SCREENS, reason=f"no screens in {SHARED / 'data'}; name the folder in PERTHARNESS_SHARED")
@pytest.mark.parametrize("path", SCREENS, ids=lambda path: path.stem)
def test_doubles_of_a_real_screen_are_predicted_or_the_skip_says_why(path: Path, together: Run, tmp_path: Path) -> None:
    options = ("--task", "double", "--seeds", "1", "--models", f"additive,mean,{CPA}", "--scorers", "l2")
    run = run_in(tmp_path, "--data", str(path), *options)
    row = run.board.set_index("model").loc["cpa"]
    (dataset,) = (tmp_path / "store" / "datasets").glob("*/dataset.h5ad")
    if open_stored(dataset).uns["pertharness"]["level"] == "cells":
        assert row["state"] == "done" or "CPA needs counts" in row["note"]
        assert row["state"] != "done" or 0 < row["scored"] <= row["expected"]
    else:
        assert row["state"] == "skipped"
        assert "cells" in row["note"]
