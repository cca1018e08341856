"""All models of the paper on one leaderboard: baselines here, GEARS, CPA and foundation models with their locks.

The foundation models have checkpoints of random weights in the published layout: what they predict means nothing.
"""

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
from pertharness import load_dataset
from pertharness.data.canonical import open_stored, read
from pertharness.host.environments.folder import open_folder
from pertharness.worker.landlock import abi_version

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("PERTHARNESS_SHARED") or ROOT.parent / "shared")
SCREENS = sorted((SHARED / "data").glob("*.h5ad"))
PERTHARNESS = shutil.which("pertharness", path=str(Path(sys.executable).parent)) or "pertharness is not installed"
USUAL = "metric == 'l2' and variant == 'default' and stratum == 'all'"
# Training is cut short: what it is worth is another question.
BASELINES = ("no_change", "additive", "mean", "linear")
GEARS, CPA = "gears[epochs=1, hidden_size=16]", "cpa[max_epochs=5]"
DEMO = {"n_genes": 200, "n_cells": 20}
UNKNOWN = 3
"""Genes of the demo that are not in the vocabulary of the tiny scGPT."""
FILES = {
    "scgpt": {"checkpoint": "best_model.pt", "vocabulary": "vocab.json", "arguments": "args.json"},
    "scfoundation": {"checkpoint": "models.ckpt", "gene_list": "OS_scRNA_gene_index.19264.tsv"},
    "uce": {
        "checkpoint": "4layer_model.torch",
        "symbols": "Homo_sapiens.GRCh38.gene_symbol_to_embedding_ESM2.pt",
        "chromosomes": "species_chrom.csv",
        "offsets": "species_offsets.pkl",
    },
    "scbert": {"checkpoint": "panglao_pretrain.pth", "gene_list": "vocab.json"},
    "geneformer": {
        "checkpoint": "model.safetensors",
        "config": "config.json",
        "tokens": "token_dictionary_gc95M.pkl",
        "medians": "gene_median_dictionary_gc95M.pkl",
        "mapping": "ensembl_mapping_dict_gc95M.pkl",
    },
}
SHORT = {
    "scgpt": "epochs=1, lr=0.01",
    "scfoundation": "epochs=1",
    "uce": "pool_size=20, sample_size=48",
    "scbert": "epochs=1, min_genes=10, control_cells=8",
    "geneformer": "epochs=1, pool_size=20",
}
CORRECTED = {"scgpt": "max_seq_len=100"}
TESTED = tuple(f"{name} (test weights)" for name in FILES)
EMBEDDED = ("scgpt", "scfoundation", "uce", "geneformer")
"""Foundation models whose plugins offer an embedding of genes."""
WRITE = "import sys; from pathlib import Path; from pertharness_{name}.tiny import write_tiny; "
WRITE += "write_tiny(Path(sys.argv[1]), sys.stdin.read().split())"
NAMES = ("gears", "cpa", *FILES)
RECIPE = f"""
name = "together"
seeds = [1]
models = MODELS
scorers = ["l2", "pearson_delta"]
environments = {{ {", ".join(f'{name} = "{ROOT}/plugins/{name}"' for name in NAMES)} }}
datasets.demo.params = {{ n_genes = {DEMO["n_genes"]}, n_cells = {DEMO["n_cells"]} }}
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


def call(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([PERTHARNESS, *words], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def run_in(folder: Path, *words: str) -> Run:
    done = call("run", *words, "--store", "store", "--out", "run", cwd=folder)
    manifest = json.loads((folder / "run" / "manifest.json").read_text(encoding="utf-8"))
    return Run(manifest, pd.read_csv(folder / "run" / "leaderboard.csv").query(USUAL), done.stdout)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of each foundation model the parameters that name a tiny checkpoint, written in the plugin's environment."""
    path = tmp_path_factory.mktemp("tiny")
    demo = load_dataset("demo", store=path / "store", progress=False, **DEMO)
    params = {}
    for name, files in FILES.items():
        call("env", "build", f"{ROOT}/plugins/{name}")
        folder = open_folder()
        environment = folder.current(name)
        assert environment is not None
        command = [folder.python(environment), "-c", WRITE.format(name=name), path / name]
        (path / name).mkdir()
        genes = demo.var_names[: -UNKNOWN if name == "scgpt" else None]
        subprocess.run(command, input="\n".join(genes), text=True, check=True)
        params[name] = ", ".join(f"{param}={path / name / file}" for param, file in files.items())
    return params


@pytest.fixture(scope="module")
def trained(tiny: dict[str, str]) -> list[str]:
    """The models with an environment, as a recipe names them: the foundation models in both procedures."""
    models = [GEARS, CPA]
    for name in FILES:
        short = f"{name}[{tiny[name]}, {SHORT[name]}"
        more = ", ".join(filter(None, ["procedure=corrected", CORRECTED.get(name)]))
        models += [f"{short}]", f"{short}, {more}]"]
    return models


@pytest.fixture(scope="module")
def together(tiny: dict[str, str], trained: list[str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("together")
    embeddings = [f"linear[G=embed:{name}[{_of_embedding(name, tiny)}]]" for name in EMBEDDED]
    recipe = RECIPE.replace("MODELS", json.dumps([*BASELINES, *trained, *embeddings]))
    (folder / "together.toml").write_text(recipe, encoding="utf-8")
    return run_in(folder, "together.toml", "--build", "--keep-models")


def _of_embedding(name: str, tiny: dict[str, str]) -> str:
    """Return the files that an embedding needs: no median expression, and no arguments of training."""
    return ", ".join(each for each in tiny[name].split(", ") if not each.startswith("medians="))


def test_one_leaderboard_has_the_models_of_all_environments(together: Run) -> None:
    doubles = together.board[together.board["task"] == "double"]
    assert set(doubles["model"]) == {*BASELINES, "gears", "cpa", *TESTED, "linear (test weights)"}
    answering = doubles[doubles["model"].isin(["no_change", "additive", "mean", "gears", "cpa", *TESTED])]
    assert set(answering["state"]) == {"done"}, list(answering["note"])
    assert (answering["scored"] == answering["expected"]).all()
    assert (answering["expected"] > 0).all()
    assert answering["value"].nunique() == len(answering) == 5 + 2 * len(TESTED)
    singles = together.board[together.board["task"] == "single"].set_index("model")
    assert singles.loc["gears", "scored"] == singles.loc["gears", "expected"] > 0
    assert singles.loc["cpa", "state"] == "skipped"
    assert "does not predict singles (its card: double)" in singles.loc["cpa", "note"]


@pytest.mark.parametrize(("task", "with_embeddings"), [("double", 0), ("single", len(EMBEDDED))])
def test_test_weights_are_named_and_have_no_verdict(together: Run, task: str, with_embeddings: int) -> None:
    rows = together.board.query(f"task == '{task}' and state == 'done'")
    tested = rows[rows["model"].str.endswith("(test weights)")]
    counts = tested["model"].value_counts()
    assert counts.get("linear (test weights)", 0) == with_embeddings
    assert set(counts[list(TESTED)]) == {2}
    assert tested[["rank", "verdict"]].isna().all(axis=None)
    assert (tested["scored"] == tested["expected"]).all()
    others = rows[~rows["model"].str.endswith("(test weights)")]
    assert others["rank"].notna().all()


def test_records_say_what_was_loaded_and_which_genes_are_known_and_have_the_model(together: Run) -> None:
    loaded = {
        "scgpt": ("33 tensors loaded, 10 ignored, 22 fresh", "39 tensors loaded, 4 ignored, 16 fresh"),
        "scfoundation": ("48 tensors loaded, 0 ignored, 0 fresh",),
        "uce": ("tensors loaded",),
        "scbert": ("tensors loaded",),
        "geneformer": ("tensors loaded",),
    }
    known = {name: DEMO["n_genes"] - (UNKNOWN if name == "scgpt" else 0) for name in FILES}
    store = Path(together.manifest["store"])
    seen = []
    for attempt in together.manifest["attempts"]:
        name = attempt["model"].partition("[")[0].partition(" ")[0]
        if name in loaded:
            record = store / "predictions" / attempt["prediction"]
            status = (record / "status.json").read_text(encoding="utf-8")
            assert any(words in status for words in loaded[name])
            assert f"genes: {known[name]} of {DEMO['n_genes']} are in the model's vocabulary" in status
            assert (record / "model.zip").is_file()
            seen.append(name)
    assert min(seen.count(name) for name in loaded) > 2


@pytest.mark.parametrize(("name", "python"), [(name, "3.10." if name == "cpa" else "3.11.") for name in NAMES])
def test_the_manifest_has_the_versions_of_each_lock(together: Run, name: str, python: str) -> None:
    plugin = together.manifest["plugins"][name]
    assert plugin["python_version"].startswith(python)
    text = (ROOT / "plugins" / name / "src" / f"pertharness_{name}" / "requirements.lock").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    locked = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines}
    # Where the package is from, as in torch's 2.13.0+cpu, is not in a lock.
    installed = {canonicalize_name(package): version.split("+")[0] for package, version in plugin["packages"].items()}
    assert installed.items() >= locked.items()
    assert set(installed) - set(locked) == {"pertharness", f"pertharness-{name}"}
    here = together.manifest["plugins"]["baselines"]
    assert here["python_version"] == ".".join(map(str, sys.version_info[:3]))


def test_the_models_of_one_run_have_their_own_versions_of_a_library(together: Run) -> None:
    plugins = together.manifest["plugins"]
    versions = {name: plugins[name]["packages"]["numpy"] for name in ("baselines", "gears", "cpa")}
    assert len(set(versions.values())) == 3, versions


@pytest.mark.skipif(not abi_version(), reason="this kernel has no Landlock")
def test_the_sandbox_changes_no_number(together: Run, trained: list[str], tmp_path: Path) -> None:
    recipe = RECIPE.replace("MODELS", json.dumps(trained)).partition('[[tasks]]\nsplit = { kind = "unseen"')[0]
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
    assert len(compared) == len(trained)


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
