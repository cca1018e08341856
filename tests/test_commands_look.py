"""Commands that look around: `export`, `show`, `list`, `doctor`, `data list`."""

from __future__ import annotations

import shutil
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from command_bench import Bench, pertharness
from pertharness.host.execution.sandbox import describe_machine, find_mechanism
from pertharness.host.store.records import Store


def test_export_writes_a_file_per_model_and_says_what_there_is_none_of(bench: Bench, tmp_path: Path) -> None:
    said = pertharness("export", bench.folder / "runs" / "screen", "out", cwd=tmp_path).stdout
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"screen-double-seed0-baselines-{model}.h5ad" for model in ("additive", "mean", "no_change")]
    assert "linear, screen double seed 0: no prediction (skipped: does not predict doubles" in said
    adata = anndata.read_h5ad(tmp_path / "out" / names[0])
    assert {*adata.obs["perturbation"]} == {*bench.split["test"]}
    assert adata.X.dtype == np.float64


def test_export_from_another_store_says_that_nothing_is_there(bench: Bench, tmp_path: Path) -> None:
    run = bench.folder / "runs" / "screen"
    said = pertharness("export", run, "out", "--store", "none", cwd=tmp_path, status=1)
    assert "no store at" in said.stderr
    Store.open(tmp_path / "empty")
    said = pertharness("export", run, "out", "--store", "empty", cwd=tmp_path, status=1)
    assert "name the run's store with --store" in said.stderr


def test_show_leads_from_a_cost_to_job_log_and_files(bench: Bench, tmp_path: Path) -> None:
    store = bench.folder / "store"
    costs = pd.read_csv(bench.folder / "runs" / "screen" / "costs.csv").query("model == 'additive' and phase == 'fit'")
    key = costs["key"].iloc[0]
    said = pertharness("show", key[:10], "--store", store, cwd=tmp_path).stdout
    for words in (key, "stage  predictions", "name   additive", "state  done", "prediction.h5ad", "log.txt", "cost"):
        assert " ".join(words.split()) in " ".join(said.split())
    files = [line.split(maxsplit=1)[1] for line in said.splitlines() if line.startswith("file")]
    assert all(Path(file).is_file() for file in files)


@pytest.mark.parametrize("key", ["", "zz", "*", "/etc", "..", "[", "a/b", "0" * 300])
def test_show_of_no_one_record_says_so(key: str, bench: Bench, tmp_path: Path) -> None:
    said = pertharness("show", key, "--store", bench.folder / "store", cwd=tmp_path, status=1)
    assert ("use a longer prefix" if key == "" else f"starts with {key!r}; a run's manifest.json") in said.stderr


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("datasets", {"demo", "h5ad", "norman", "adamson", "replogle_k562", "replogle_rpe1"}),
        ("models", {"no_change", "additive", "mean", "linear"}),
        ("scorers", {"l2", "pearson", "pearson_delta"}),
        ("embeddings", {"pca", "transfer", "table", "spectral"}),
    ],
)
def test_list_names_what_is_installed(what: str, names: set[str], tmp_path: Path) -> None:
    said = pertharness("list", what, cwd=tmp_path).stdout
    assert names <= {line.split()[0] for line in said.splitlines()}


def test_list_shows_parameters_with_types_defaults_and_help_when_asked(tmp_path: Path) -> None:
    def listed(what: str, *options: str) -> list[str]:
        return pertharness("list", what, *options, cwd=tmp_path).stdout.splitlines()

    models = listed("models", "-v")
    at = next(i for i, line in enumerate(models) if line.startswith("linear "))
    assert [line.split()[0] for line in models[at + 1 : at + 4]] == ["k", "ridge", "variant"]
    assert "integer >= 1" in models[at + 1]
    assert "default 10 " in models[at + 1]
    assert models[at + 1].endswith("principal components, of slots that are left out")
    assert [line for line in models if not line.startswith(" ")] == listed("models")
    assert any(line.split() == ["layer", "text", "or", "none", "default", "none"] for line in listed("datasets", "-v"))


def test_list_runs_says_which_cannot_be_read(bench: Bench, tmp_path: Path) -> None:
    shutil.copytree(bench.folder / "runs", tmp_path / "runs")
    records = '{"format": 1, "records": {"a": {}}}'
    for name, text in {"cut": '{"form', "other": "[]", "old": '{"format": 0}', "records": records}.items():
        (tmp_path / "runs" / name).mkdir()
        (tmp_path / "runs" / name / "manifest.json").write_text(text, encoding="utf-8")
    said = pertharness("list", "runs", cwd=tmp_path).stdout
    assert said.count("its manifest.json cannot be read") == 4
    assert "additive,linear,mean,no_change" in said
    assert "no runs in nowhere" in pertharness("list", "runs", "--folder", "nowhere", cwd=tmp_path).stdout


def test_doctor_shows_machine_store_and_plugins(bench: Bench, tmp_path: Path) -> None:
    store = bench.folder / "store"
    said = pertharness("doctor", "--store", store, cwd=tmp_path).stdout
    assert all(word in said for word in ("Python", "cores", str(store), "plugin baselines", "model additive", "GPU"))
    [isolation] = [line for line in said.splitlines() if line.startswith("isolation ")]
    assert describe_machine() in isolation
    assert ("/dev/shm" in isolation) == (find_mechanism("auto") != "none")


@pytest.mark.skipif(find_mechanism("bwrap") is not None, reason="all mechanisms are there")
def test_a_mechanism_that_is_not_there_is_refused_with_what_is(tmp_path: Path) -> None:
    done = pertharness("run", "--all", "--isolation", "bwrap", "--store", "store", cwd=tmp_path, status=2)
    assert "isolation 'bwrap' is not available on this machine: " + describe_machine() in done.stderr


def test_help_says_what_isolation_is(tmp_path: Path) -> None:
    words = " ".join(pertharness("run", "--help", cwd=tmp_path).stdout.split())
    assert "--isolation [auto|landlock|bwrap|none]" in words
    assert "Sandbox that keeps models from the truth" in words


def test_data_list_and_info_say_where_data_come_from(bench: Bench, tmp_path: Path) -> None:
    env = {"PERTHARNESS_STORE": str(bench.folder / "store"), "PERTHARNESS_DATA": str(tmp_path / "data")}
    said = pertharness("data", "list", cwd=tmp_path, **env).stdout
    assert {"demo", "norman", "adamson", "replogle_k562", "replogle_rpe1"} <= {x.split()[0] for x in said.splitlines()}
    assert "not fetched" in said
    info = pertharness("data", "info", "norman", cwd=tmp_path, **env).stdout
    assert "https://figshare.com/ndownloader/files/44477939" in info
    assert "Norman" in info
