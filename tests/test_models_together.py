"""Both recipes of the paper on small demos: all its models, each in the environment of its lock, on one leaderboard.

The foundation models have checkpoints of random weights in the published layout: what they predict means nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pertharness as ph
import pytest
from packaging.utils import canonicalize_name
from pertharness.data.canonical import open_stored, read
from pertharness.host.environments.folder import open_folder
from pertharness.worker.landlock import abi_version

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("PERTHARNESS_SHARED") or ROOT.parent / "shared")
SCREENS = sorted((SHARED / "data").glob("*.h5ad"))
PUBLISHED = ROOT / "plugins" / "scorers" / "src" / "pertharness_scorers" / "published"
PERTHARNESS = shutil.which("pertharness", path=str(Path(sys.executable).parent)) or "pertharness is not installed"
USUAL = "metric == 'l2' and variant == 'default' and stratum == 'all'"
DEMO = {"n_genes": 200, "n_cells": 20}
UNKNOWN = 3
"""Genes of the demo that are not in the vocabulary of the tiny scGPT."""
# Training is cut short: what it is worth is another question.
SHORT = {
    "gears": "epochs=1, hidden_size=16", "cpa": "max_epochs=5", "scgpt": "epochs=1, lr=0.01",
    "scfoundation": "epochs=1",
    "uce": "pool_size=20, sample_size=48", "scbert": "epochs=1, min_genes=10, control_cells=8",
    "geneformer": "epochs=1, pool_size=20",
}  # fmt: skip
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
LOADED = {
    "scgpt": ("33 tensors loaded, 10 ignored, 22 fresh", "39 tensors loaded, 4 ignored, 16 fresh"),
    "scfoundation": ("48 tensors loaded, 0 ignored, 0 fresh",),
}
GENES_KNOWN = dict.fromkeys(FILES, f"genes: {DEMO['n_genes']} of {DEMO['n_genes']} are in the model's vocabulary")
GENES_KNOWN["scgpt"] = f"genes: {DEMO['n_genes'] - UNKNOWN} of {DEMO['n_genes']} are in the model's vocabulary"
GENES_KNOWN["scbert"] = f"genes: {DEMO['n_genes']} of the {DEMO['n_genes']} of scBERT's list are in the data"
GENES_KNOWN["geneformer"] = f"genes: {DEMO['n_genes']} of {DEMO['n_genes']} have a token of Geneformer"
TESTED = {
    "double": {f"{name} (test weights)" for name in FILES},
    "single": {f"{name} (test weights)" for name in FILES if name != "scfoundation"},
}
ORACLE = ("uce (test weights)", "scbert (test weights)")
WRITE = "import sys; from pathlib import Path; from pertharness_{name}.tiny import write_tiny; "
WRITE += "write_tiny(Path(sys.argv[1]), sys.stdin.read().split())"

pytestmark = [pytest.mark.models, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def environments() -> dict[str, str]:
    """The plugins with an environment, each built from its lock."""
    folders = {name: f"{ROOT}/plugins/{name}" for name in SHORT}
    for folder in folders.values():
        done = subprocess.run([PERTHARNESS, "env", "build", folder], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return folders


@pytest.fixture(scope="module")
def tiny(environments: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of each foundation model the parameters that name a tiny checkpoint, written in the plugin's environment."""
    path = tmp_path_factory.mktemp("tiny")
    demo = ph.load_dataset("demo", store=path / "store", progress=False, **DEMO)
    params = {}
    for name, files in FILES.items():
        folder = open_folder()
        environment = folder.current(name)
        assert environment is not None
        command = [folder.python(environment), "-c", WRITE.format(name=name), path / name]
        (path / name).mkdir()
        genes = demo.var_names[: -UNKNOWN if name == "scgpt" else None]
        subprocess.run(command, input="\n".join(genes), text=True, check=True)
        params[name] = ", ".join(f"{param}={path / name / file}" for param, file in files.items())
    return params


def shortened(name: str, tiny: dict[str, str]) -> str:
    """Return a model of a published recipe with tiny weights and a short training; baselines as they are."""
    linear, _, embedding = name.removesuffix("]").partition("=embed:")
    if embedding in tiny:
        return f"{linear}=embed:{embedding}[{tiny[embedding]}]]"
    if name not in SHORT:
        return name
    return f"{name}[{', '.join(filter(None, [tiny.get(name), SHORT[name]]))}]"


def recipe_of(short: str, tiny: dict[str, str], environments: dict[str, str]) -> dict[str, Any]:
    """Return a published recipe with one seed and small demos; test weights cannot be part of a common set."""
    import tomllib  # not in Python 3.10, with which this module is collected, too

    recipe = tomllib.loads((PUBLISHED / f"ahlmann-eltze-2025-{short}.toml").read_text(encoding="utf-8"))
    doubles = {} if short == "double" else {"n_doubles": 0}
    datasets = {
        name: {"offer": "demo", "params": DEMO | doubles | {"replicate": number}}
        for number, name in enumerate(recipe["datasets"])
    }
    tasks = [
        task | {"common_set": [shortened(name, tiny) for name in task["common_set"] if name not in FILES]}
        for task in recipe["tasks"]
    ]
    models = [shortened(name, tiny) for name in recipe["models"]]
    return recipe | {
        "seeds": [1], "models": models, "datasets": datasets, "tasks": tasks, "environments": environments,
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("together")


@pytest.fixture(scope="module")
def double(tiny: dict[str, str], environments: dict[str, str], folder: Path) -> ph.Run:
    recipe = recipe_of("double", tiny, environments)
    return ph.run(recipe, store=folder / "store", out=folder / "double", keep_models=True, progress=False)


@pytest.fixture(scope="module")
def single(tiny: dict[str, str], environments: dict[str, str], folder: Path) -> ph.Run:
    return ph.run(
        recipe_of("single", tiny, environments), store=folder / "store", out=folder / "single", progress=False
    )


def store_of(run: ph.Run) -> Path:
    return Path(run.manifest["store"])


def board_of(run: ph.Run) -> pd.DataFrame:
    return pd.read_csv(run.folder / "leaderboard.csv", keep_default_na=False).query(USUAL)


def test_one_leaderboard_has_the_models_of_all_environments(double: ph.Run) -> None:
    board = board_of(double)
    assert sorted(board["model"]) == sorted(["no_change", "additive", "mean", "gears", "cpa", *TESTED["double"]])
    assert set(board["state"]) == {"done"}, dict(zip(board["model"], board["note"], strict=True))
    assert (board["scored"].astype(int) == board["expected"].astype(int)).all()
    assert (board["expected"].astype(int) > 0).all()
    assert board["value"].nunique() == len(board)


def test_of_the_singles_those_are_left_out_that_the_article_leaves_out(single: ph.Run) -> None:
    board = board_of(single)
    assert board["dataset"].nunique() == 3
    skipped = board[board["state"] != "done"]
    assert set(skipped["model"]) == {"cpa", "scfoundation", "linear"}
    # Replogle K562's own screen cannot be what is transferred from to it, and so for RPE1: in no figure.
    transferred = skipped[skipped["model"] == "linear"]
    assert set(transferred["params"]) == {"P=transfer:replogle_k562", "P=transfer:replogle_rpe1"}
    assert transferred["note"].str.contains("is the task's own screen").all()
    assert skipped.loc[skipped["model"] != "linear", "note"].str.contains("left out: in the article on").all()
    done = set(board.loc[board["state"] == "done", "model"])
    assert done == {"gears", "mean", "no_change", "linear", "linear (test weights)", *TESTED["single"]}


@pytest.mark.parametrize("short", ["double", "single"])
def test_test_weights_are_named_and_have_no_verdict(short: str, request: pytest.FixtureRequest) -> None:
    board = board_of(request.getfixturevalue(short)).query("state == 'done'")
    is_tested = board["model"].str.endswith("(test weights)")
    tested, others = board[is_tested], board[~is_tested]
    assert set(tested["model"]) - {"linear (test weights)"} == TESTED[short]
    assert (tested[["rank", "verdict"]] == "").all(axis=None)
    assert (others.query("set == 'common'")["rank"] != "").all()


def test_models_with_an_oracle_are_marked_and_no_other_has_one(double: ph.Run) -> None:
    board = board_of(double)
    assert set(board.loc[board["oracle"] == "yes", "model"]) == set(ORACLE)
    lines = (double.folder / "leaderboard.md").read_text(encoding="utf-8").splitlines()
    for name in TESTED["double"]:
        rows = [line for line in lines if line.startswith(f"| - | {name}[")]
        assert rows
        assert all(("]\\* |" in row) == (name in ORACLE) for row in rows), rows
    has_oracle = {}
    for attempt in double.manifest["attempts"]:
        job = store_of(double) / "predictions" / attempt["prediction"] / "job.json"
        has_oracle[attempt["model"]] = "oracle" in json.loads(job.read_bytes())["inputs"]
    assert {name for name, has in has_oracle.items() if has} == set(ORACLE)


def test_records_say_what_was_loaded_and_which_genes_are_known_and_have_the_model(double: ph.Run) -> None:
    for name in FILES:
        [attempt] = [each for each in double.manifest["attempts"] if each["model"] == f"{name} (test weights)"]
        record = store_of(double) / "predictions" / attempt["prediction"]
        status = (record / "status.json").read_text(encoding="utf-8")
        assert any(words in status for words in LOADED.get(name, ("tensors loaded",)))
        assert GENES_KNOWN[name] in status
        assert (record / "model.zip").is_file()


@pytest.mark.parametrize("name", SHORT)
def test_the_manifest_has_the_versions_of_each_lock(double: ph.Run, name: str) -> None:
    plugin = double.manifest["plugins"][name]
    assert plugin["python_version"].startswith("3.10." if name == "cpa" else "3.11.")
    text = (ROOT / "plugins" / name / "src" / f"pertharness_{name}" / "requirements.lock").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    locked = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines}
    # Where the package is from, as in torch's 2.13.0+cpu, is not in a lock.
    installed = {canonicalize_name(package): version.split("+")[0] for package, version in plugin["packages"].items()}
    assert installed.items() >= locked.items()
    assert set(installed) - set(locked) == {"pertharness", f"pertharness-{name}"}


def test_the_models_of_one_run_have_their_own_versions_of_a_library(double: ph.Run) -> None:
    plugins = double.manifest["plugins"]
    assert plugins["baselines"]["python_version"] == ".".join(map(str, sys.version_info[:3]))
    versions = {name: plugins[name]["packages"]["numpy"] for name in ("baselines", "gears", "cpa")}
    assert len(set(versions.values())) == 3, versions


@pytest.mark.skipif(not abi_version(), reason="this kernel has no Landlock")
def test_the_sandbox_changes_no_number(
    double: ph.Run, tiny: dict[str, str], environments: dict[str, str], tmp_path: Path
) -> None:
    recipe = recipe_of("double", tiny, environments)
    models = [name for name in recipe["models"] if name.partition("[")[0] in SHORT]
    run = ph.run(
        recipe, models=models, scorers="l2", store=tmp_path / "store", out=tmp_path / "run", isolation="none",
        progress=False,
    )  # fmt: skip
    compared = []
    for attempt in run.manifest["attempts"]:
        if attempt["model"].partition(" ")[0] not in SHORT:
            continue
        records = [store_of(each) / "predictions" / attempt["prediction"] for each in (double, run)]
        made = [json.loads((record / "status.json").read_bytes())["isolation"] for record in records]
        assert [isolation["mechanism"] for isolation in made] == ["landlock", "none"]
        assert [what for what in made[0]["partial"] if not what.startswith("/dev/shm")] == []
        inside, outside = (read(record / "prediction.h5ad") for record in records)
        pd.testing.assert_index_equal(inside.obs_names, outside.obs_names)
        np.testing.assert_array_equal(inside.X, outside.X)  # to the bit
        compared.append(attempt["model"])
    assert len(compared) == len(SHORT)


@pytest.mark.reference
@pytest.mark.skipif(not SCREENS, reason=f"no screens in {SHARED / 'data'}; name the folder in PERTHARNESS_SHARED")
@pytest.mark.parametrize("path", SCREENS, ids=lambda path: path.stem)
def test_doubles_of_a_real_screen_are_predicted_or_the_skip_says_why(
    path: Path, environments: dict[str, str], tmp_path: Path
) -> None:
    models = ["additive", "mean", f"cpa[{SHORT['cpa']}]"]
    run = ph.run(
        data=path, tasks="double", seeds=1, models=models, scorers="l2", store=tmp_path / "store", out=tmp_path / "run",
        progress=False,
    )  # fmt: skip
    row = board_of(run).set_index("model").loc["cpa"]
    (dataset,) = (tmp_path / "store" / "datasets").glob("*/dataset.h5ad")
    if open_stored(dataset).uns["pertharness"]["level"] == "cells":
        assert row["state"] == "done" or "CPA needs counts" in row["note"]
        assert row["state"] != "done" or 0 < int(row["scored"]) <= int(row["expected"])
    else:
        assert row["state"] == "skipped"
        assert "cells" in row["note"]
