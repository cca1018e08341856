"""``pertharness predict`` and ``pertharness.predict``: what was never measured, and how far to trust it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pertharness as ph
import pytest
from command_bench import GENES, pertharness, screen

A, B, C, D = GENES[:4]
NEW = GENES[20]
"""A gene of the screen that was not perturbed."""
UNMEASURED = f"{C}+{A}"
MEASURED = f"{B}+{A}"


def facts(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = anndata.read_h5ad(path).uns["pertharness"]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a screen, a prediction of doubles, and one of singles."""
    folder = tmp_path_factory.mktemp("predict")
    screen().write_h5ad(folder / "screen.h5ad")
    asked = ("--data", "screen.h5ad", "--store", "store")
    doubles = pertharness(
        "predict", "--model", "additive", "--queries", f"{UNMEASURED},{MEASURED.lower()},{A}+NOGENE", "--seeds", "1-2",
        "--out", "double.h5ad", *asked, cwd=folder,
    )  # fmt: skip
    (folder / "double.txt").write_text(doubles.stdout, encoding="utf-8")
    (folder / "queries.txt").write_text(f"{NEW}\n{A}\nNOGENE\n", encoding="utf-8")
    pertharness(
        "predict", "--model", "linear[k=3]", "--queries", "queries.txt", "--no-errors", "--out", "single.h5ad", *asked,
        cwd=folder,
    )  # fmt: skip
    return folder


def test_the_file_holds_the_means_in_the_order_of_the_queries(folder: Path) -> None:
    predicted = anndata.read_h5ad(folder / "double.h5ad")
    assert list(predicted.obs["perturbation"]) == [f"{A}+{C}", f"{A}+{B}"]
    assert list(predicted.obs["query"]) == [UNMEASURED, MEASURED.lower()]
    assert list(predicted.obs["measured"]) == [False, True]
    assert list(predicted.var_names) == GENES
    assert predicted.X.dtype == np.float64
    data = screen()
    row = {label: data.X[i] for i, label in enumerate(data.obs["condition"])}
    expected = [row[f"{one}+ctrl"] + row[f"{two}+ctrl"] - row["ctrl"] for one, two in ((A, C), (A, B))]
    assert pytest.approx(np.array(expected), abs=1e-6) == predicted.X  # the screen is kept as float32


def test_the_file_says_what_made_it_and_what_is_unanswered(folder: Path) -> None:
    known = facts(folder / "double.h5ad")
    assert (known["model"], known["plugin"], known["scale"], known["dataset"]) == (
        "additive", "baselines", "log1p CP10k", "screen",
    )  # fmt: skip
    assert known["unanswered"].to_dict("records") == [
        {"perturbation": f"{A}+NOGENE", "reason": "not among the training singles: NOGENE"}
    ]
    record = folder / "store" / "predictions" / known["record"]
    assert json.loads((record / "status.json").read_text(encoding="utf-8"))["state"] == "done"
    assert facts(folder / "single.h5ad")["params"] == json.dumps({"k": 3, "ridge": 0.1, "variant": "bilinear"})


def test_the_errors_are_those_of_a_benchmark_on_the_screen(folder: Path) -> None:
    (errors,) = facts(folder / "double.h5ad")["errors"].to_dict("records")
    pertharness(
        "run", "--data", "screen.h5ad", "--task", "double", "--models", "additive", "--scorers", "l2", "--seeds", "1-2",
        "--store", "store", "--out", "usual", cwd=folder,
    )  # fmt: skip
    board = ph.load_run(folder / "usual").leaderboard
    (row,) = board.query("metric == 'l2' and variant == 'default' and stratum == 'all'").to_dict("records")
    assert (errors["task"], errors["reference"], errors["l2"], errors["n"], errors["verdict"]) == (
        "double", "additive", row["value"], row["n"], "reference",
    )  # fmt: skip
    printed = (folder / "double.txt").read_text(encoding="utf-8")
    assert "additive is itself the reference for doubles." in printed
    assert f"not answered: {A}+NOGENE: not among the training singles: NOGENE" in printed
    assert f"measured in the screen: {A}+{B}" in printed
    assert len(facts(folder / "single.h5ad")["errors"]) == 0


def test_the_same_queries_in_other_words_are_the_same_record(folder: Path) -> None:
    again = pertharness(
        "predict", "--model", "additive", "--queries", f"ctrl+{A}+{C}", "--queries", f"{A}+NOGENE,{A}+{B}",
        "--no-errors", "--data", "screen.h5ad", "--store", "store", "--out", "again.h5ad", cwd=folder,
    )  # fmt: skip
    assert facts(folder / "again.h5ad")["record"] == facts(folder / "double.h5ad")["record"]
    assert "fit" not in again.stderr


def test_a_kept_model_predicts_the_same_and_is_not_fitted(folder: Path) -> None:
    key = facts(folder / "single.h5ad")["record"]
    done = pertharness(
        "predict", "--model-record", key[:12], "--queries", f"{A},{D},{NEW}", "--store", "store", "--out", "kept.h5ad",
        cwd=folder,
    )  # fmt: skip
    kept, fitted = anndata.read_h5ad(folder / "kept.h5ad"), anndata.read_h5ad(folder / "single.h5ad")
    for label in (A, NEW):
        assert np.array_equal(kept[label].X, fitted[label].X)
    assert D in kept.obs_names
    known = kept.uns["pertharness"]
    assert (known["model_record"], known["model"]) == (key, "linear[k=3]")
    for part in ("dataset 'screen'", "split all", "seed 1", '"k": 3', "baselines"):
        assert part in known["trained_on"]
        assert part in done.stdout
    assert "no errors: the screen was not named" in done.stdout
    record = folder / "store" / "predictions" / known["record"]
    status = json.loads((record / "status.json").read_text(encoding="utf-8"))
    assert [phase["name"] for phase in status["phases"]] == ["restore", "predict"]
    assert "model.zip" not in status["artefacts"]


def test_a_kept_model_takes_its_own_screen_and_measures_errors_on_it(folder: Path) -> None:
    key = facts(folder / "single.h5ad")["record"]
    asked = ("predict", "--model-record", key, "--queries", D, "--seeds", "1", "--store", "store", "--out", "own.h5ad")
    pertharness(*asked, "--data", "screen.h5ad", "--model", "linear[k=3]", cwd=folder)
    (errors,) = facts(folder / "own.h5ad")["errors"].to_dict("records")
    assert (errors["model"], errors["reference"]) == ("linear[k=3]", "mean")
    assert errors["verdict"] in ("better", "worse", "undecided", "")
    other = screen()
    other.X = other.X[:, ::-1].copy()
    other.write_h5ad(folder / "other.h5ad")
    refused = pertharness(*asked, "--data", "other.h5ad", cwd=folder, status=2)
    assert "other.h5ad is not what the model was fitted to" in refused.stderr
    refused = pertharness(*asked, "--model", "linear", cwd=folder, status=2)
    assert "'linear' is not the model of the record" in refused.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: (record / "model.zip").write_bytes(b"other"), "is damaged"),
        (lambda record: (record / "model.zip").unlink(), "is damaged"),
        (lambda record: _edit(record / "job.json", '"version": "0.1.0"', '"version": "0.0.9"'), "had another version"),
        (lambda record: shutil.rmtree(record.parents[1] / "splits"), "are no longer in the store"),
    ],
)
def test_a_kept_model_that_cannot_be_trusted_is_refused_with_what_to_do(
    folder: Path, tmp_path: Path, change: Any, message: str
) -> None:
    shutil.copytree(folder / "store", tmp_path / "store")
    key = facts(folder / "single.h5ad")["record"]
    record = tmp_path / "store" / "predictions" / key
    for path in (record, *record.iterdir(), *(tmp_path / "store").rglob("splits/*")):
        path.chmod(0o755)
    change(record)
    done = pertharness(
        "predict", "--model-record", key, "--queries", D, "--store", "store", "--out", "x.h5ad", cwd=tmp_path, status=2
    )
    assert message in done.stderr
    assert "predict without --model-record" in done.stderr
    assert not (tmp_path / "x.h5ad").exists()


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_predictions_of_benchmarks_keep_no_model(folder: Path) -> None:
    known = facts(folder / "double.h5ad")
    folders = (folder / "store" / "predictions").iterdir()
    benchmarked = [path for path in folders if "score_on" in (path / "job.json").read_text(encoding="utf-8")]
    assert benchmarked
    assert not [path for path in benchmarked if (path / "model.zip").exists()]
    assert (folder / "store" / "predictions" / known["record"] / "model.zip").exists()
    refused = pertharness(
        "predict", "--model-record", benchmarked[0].name, "--queries", A, "--store", "store", "--out", "x.h5ad",
        cwd=folder, status=2,
    )  # fmt: skip
    assert "keeps no model" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--model", "additive", "--queries", "ctrl"), 2, "query 'ctrl' is the control"),
        (("--model", "additive", "--queries", f"{A}+{A.lower()}"), 2, "duplicate target"),
        (("--model", "additve", "--queries", A), 2, "did you mean 'additive'?"),
        (("--model", "linear[kk=3]", "--queries", A), 2, "has no parameter 'kk'"),
        (("--model", "linear[k=3|5]", "--queries", A), 2, "has several values of 'k'"),
        (("--queries", A), 2, "no model is named"),
        (("--model", "mean", "--queries", ","), 2, "there is no query"),
        (("--model-record", "0" * 64, "--queries", A), 1, "no record has a key"),
        (("--model", "additive", "--queries", A), 1, "does not predict singles (its card: double)"),
    ],
)
def test_a_mistake_ends_with_a_message(folder: Path, arguments: tuple[str, ...], status: int, message: str) -> None:
    data = () if "--model-record" in arguments else ("--data", "screen.h5ad")
    done = pertharness("predict", *arguments, *data, "--store", "store", "--out", "no.h5ad", cwd=folder, status=status)
    assert message in done.stderr
    assert not (folder / "no.h5ad").exists()


def test_a_prediction_without_any_answer_is_a_file_with_the_reasons(folder: Path) -> None:
    done = pertharness(
        "predict", "--model", "linear", "--queries", "NOGENE", "--no-errors", "--data", "screen.h5ad", "--store",
        "store", "--out", "deep/none.h5ad", cwd=folder,
    )  # fmt: skip
    predicted = anndata.read_h5ad(folder / "deep" / "none.h5ad")
    assert predicted.shape == (0, len(GENES))
    (unanswered,) = predicted.uns["pertharness"]["unanswered"].to_dict("records")
    assert unanswered["reason"] in done.stdout
    assert "0 of 1 perturbations predicted" in done.stdout


def test_a_screen_is_needed(folder: Path) -> None:
    asked = ("predict", "--model", "mean", "--queries", A, "--out", "no.h5ad", "--store", "store")
    assert "no screen is named" in pertharness(*asked, cwd=folder, status=2).stderr
    missing = pertharness(*asked, "--data", "absent.h5ad", cwd=folder, status=2)
    assert "there is no file" in missing.stderr


def test_python_predicts_as_the_command_does(folder: Path) -> None:
    asked: dict[str, Any] = {"store": folder / "store", "progress": False}
    queries = [UNMEASURED, MEASURED, f"{A}+NOGENE"]
    predicted = ph.predict(
        "additive", folder / "screen.h5ad", queries, seeds=[1, 2], out=folder / "python.h5ad", **asked
    )
    by_command = anndata.read_h5ad(folder / "double.h5ad")
    assert np.array_equal(predicted.X, by_command.X)
    assert predicted.uns["pertharness"]["record"] == by_command.uns["pertharness"]["record"]
    assert (
        predicted.uns["pertharness"]["errors"]["l2"].tolist() == facts(folder / "double.h5ad")["errors"]["l2"].tolist()
    )
    assert facts(folder / "python.h5ad")["model"] == "additive"
    in_memory = ph.predict(
        "additive", ph.load_dataset(folder / "screen.h5ad", **asked), UNMEASURED, errors=False, **asked
    )
    assert pytest.approx(predicted.X[:1], abs=1e-6) == in_memory.X
    with pytest.raises(ph.PertharnessError, match="is the control"):
        ph.predict("mean", folder / "screen.h5ad", ["ctrl"], **asked)
    with pytest.raises(ph.PertharnessError, match="there is no query"):
        ph.predict("mean", folder / "screen.h5ad", **asked)


def test_models_of_a_run_are_kept_and_predict_later(folder: Path) -> None:
    asked = (
        "run", "--data", "screen.h5ad", "--task", "single", "--models", "linear[k=2],mean", "--scorers", "l2",
        "--seeds", "1", "--store", "kept", "--out", "with",
    )  # fmt: skip
    pertharness(*asked, cwd=folder)
    before = [(folder / "with" / name).read_bytes() for name in ("scores.csv.gz", "leaderboard.csv")]
    assert not list((folder / "kept" / "predictions").glob("*/model.zip"))
    assert "to do" in pertharness(*asked, "--keep-models", "--dry-run", cwd=folder).stdout
    done = pertharness(*asked, "--keep-models", cwd=folder)
    assert "; 2 of them done now" in done.stdout
    assert [(folder / "with" / name).read_bytes() for name in ("scores.csv.gz", "leaderboard.csv")] == before
    assert "; 0 of them done now" in pertharness(*asked, cwd=folder).stdout
    size = pertharness("store", "size", "--store", "kept", cwd=folder).stdout
    assert "fitted models among the predictions: 2, " in size
    assert "no differences; checked" in pertharness("verify", "kept", cwd=folder).stdout
    assert "keep_models = true" not in (folder / "with" / "recipe.toml").read_text(encoding="utf-8")

    attempts = json.loads((folder / "with" / "manifest.json").read_text(encoding="utf-8"))["attempts"]
    key = next(attempt["prediction"] for attempt in attempts if attempt["model"] == "linear")
    later = pertharness(
        "predict", "--model-record", key[:16], "--queries", NEW, "--store", "kept", "--out", "later.h5ad",
        cwd=folder,
    )  # fmt: skip
    assert "split unseen" in later.stdout
    assert facts(folder / "later.h5ad")["model_record"] == key
    run = ph.run(
        data=folder / "screen.h5ad", tasks="double", models="additive", scorers="l2", seeds=1, keep_models=True,
        store=folder / "kept", out=folder / "by_python", progress=False,
    )  # fmt: skip
    assert not run.failed
    assert len(list((folder / "kept" / "predictions").glob("*/model.zip"))) == 3
