"""A stranger's scorers in a run: whole splits, curves, tables, other tasks, genes that a model lacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pandas as pd
import pytest

RECIPE = """
name = "scored"
seeds = [1, 2]
scorers = ["l2", "area", "never", "shift", "abroad"]
models = ["no_change", "additive", "mean", "blind"]

[datasets.demo]
params = { n_genes = 60, n_singles = 12, n_doubles = 12, n_controls = 40, n_cells = 8 }

[[tasks]]
split = { kind = "double" }
common_set = ["additive", "blind"]

[[tasks]]
split = { kind = "unseen" }
"""
OURS = {"gene_coverage"}
"""Tables of the built-in scorer of the recipe."""
PLUGIN = """
import numpy as np, pandas as pd
from pertharness import Card, MetricOffer, ModelOffer, ScorerOffer, Scores, Skip, TableOffer, hookimpl, make_prediction

def metric(name, level, *variants):
    return MetricOffer(id=name, level=level, direction="higher", best=1.0, variants=variants or ("default",))

def table(name, level, **how):
    return TableOffer(name=name, level=level, summary=f"the {name}", **how)

DOUBLE = dict(tasks=("double",))
TABLES = (
    table("rows", "entry"), table("largest", "entry", largest=("x", 3)), table("facts", "dataset"),
    table("counted", "task", largest=("x", 3), count=("sign",)), table("absent", "entry"),
)
SCORERS = (
    ScorerOffer(
        name="area", summary="a", metrics=(metric("area", "task"), metric("roc", "curve")), tables=TABLES, **DOUBLE
    ),
    ScorerOffer(
        name="never", summary="n", metrics=(metric("never", "perturbation"), metric("nowhere", "task")), **DOUBLE
    ),
    ScorerOffer(name="shift", summary="s", metrics=(metric("shift", "perturbation", "default", "common-genes"),)),
    ScorerOffer(name="abroad", summary="b", metrics=(metric("abroad", "task"),), tasks=("transfer",)),
)
BLIND = ModelOffer(
    name="blind", summary="b", tasks=("double", "single"), input="pseudobulk", information="training", cheap=True
)

@hookimpl
def describe():
    return Card(scorers=SCORERS, models=(BLIND,))

@hookimpl
def fit(train):
    return np.asarray(train.X, dtype=float).mean(axis=0)

@hookimpl
def predict(model, controls, queries):
    model = model.copy()
    model[:2] = np.nan
    prediction = make_prediction({query: model for query in queries}, controls.var_names)
    prediction.uns["missing_genes"] = dict.fromkeys(controls.var_names[:2], "not in the vocabulary")
    return prediction

def long(rows):
    return pd.DataFrame(rows, columns=["perturbation", "gene", "metric", "variant", "coordinate", "value"])

@hookimpl
def score(name, truth, prediction, controls, task):
    if name == "never":
        raise Skip("2 doubles, 500 values are needed")
    if name == "shift":
        n = {"default": truth.n_vars}
        if "common" in truth.var:
            n["common-genes"] = int(truth.var["common"].sum())
        return long([(p, "", "shift", v, "", float(k)) for p in prediction.obs["perturbation"] for v, k in n.items()])
    seed = task.split_seed
    moved = not np.allclose(prediction.X, controls.X, equal_nan=True)
    area = [("", "", "area", "default", "", seed / 10 if moved else np.nan)]
    roc = [("", "", "roc", "default", at, seed / 10 + at / 2) for at in (0.0, 1.0)] if moved else []
    x = pd.DataFrame({"gene": ["A", "B", "C"], "x": [seed * 1.0, seed * -2.0, seed * 3.0], "sign": ["+", "-", "+"]})
    facts = pd.DataFrame({"threshold": [0.1 + 0.2]})
    return Scores(long(area + roc), {"rows": x, "largest": x, "counted": x, "facts": facts})
"""


class Place:
    """A fresh environment that sees this one's packages and the plugin, with a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
        (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
        # Not a plain path: packages that are installed here for editing are found by .pth files of their own.
        parent = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
        (packages / "parent.pth").write_text(parent, encoding="utf-8")
        (packages / "said_plugin.py").write_text(PLUGIN, encoding="utf-8")
        info = packages / "said-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: said\nVersion: 1.0\n", encoding="utf-8")
        (info / "entry_points.txt").write_text("[pertharness]\nsaid = said_plugin\n", encoding="utf-8")
        (folder / "r.toml").write_text(RECIPE, encoding="utf-8")
        self.said = self.pertharness("run", "r.toml")
        self.run = folder / "runs" / "scored"

    def pertharness(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            [str(self.folder / "venv" / "bin" / "python"), "-c", "from pertharness.host.cli import main; main()",
             *arguments], cwd=self.folder, env={**kept, "PERTHARNESS_STORE": str(self.folder / "store")},
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == status, done.stdout[-3000:] + done.stderr[-3000:]
        assert "Traceback" not in done.stdout + done.stderr
        return done

    def board(self, metric: str, variant: str = "default", task: str = "double") -> pd.DataFrame:
        frame = pd.read_csv(self.run / "leaderboard.csv", keep_default_na=False, na_values={"value": [""], "se": [""]})
        here = (frame["metric"] == metric) & (frame["variant"] == variant) & (frame["task"] == task)
        return frame[here & (frame["stratum"] == "all")].set_index("model")

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.run / "tables" / f"{name}.csv", keep_default_na=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("scorers"))


def test_a_metric_of_whole_splits_is_a_mean_over_them_with_its_standard_error(place: Place) -> None:
    board = place.board("area")
    # 0.1 and 0.2: mean 0.15, sd 0.1 / sqrt 2, standard error 0.05.
    assert board.loc["mean", "value"] == pytest.approx(0.15)
    assert board.loc["mean", "se"] == pytest.approx(0.05)
    assert board.loc["mean", ["scored", "expected", "n_splits", "verdict"]].tolist() == [2, 2, 2, ""]
    silent = board.loc["no_change"]
    assert silent[["scored", "expected", "set"]].tolist() == [0, 2, ""]
    assert "2 undefined" in silent["note"]
    text = (place.run / "leaderboard.md").read_text(encoding="utf-8")
    assert "mean over splits ± standard error" in text
    assert "| 0.1500 ± 0.0500 (1) |" in text


def test_a_scorer_leaves_no_trace_where_it_is_not_asked(place: Place) -> None:
    assert place.board("area", task="single").empty
    assert len(place.board("shift", task="single"))
    scores = pd.read_csv(place.run / "scores.csv.gz")
    assert "abroad" not in set(scores["metric"])
    assert set(scores.loc[scores["metric"] == "area", "task"]) == {"double"}


def test_a_scorer_that_skips_everywhere_is_one_line_and_no_table(place: Place) -> None:
    assert place.board("never").empty
    assert place.board("nowhere").empty
    note = "not scored: never: 2 doubles, 500 values are needed"
    for text in (
        place.said.stdout, (place.run / "leaderboard.md").read_text(encoding="utf-8"),
        (place.run / "report" / "index.html").read_text(encoding="utf-8"),
    ):  # fmt: skip
        assert text.count(note) == 1
    scores = pd.read_csv(place.run / "scores.csv.gz")  # where what is owed is still to be seen
    assert set(scores.loc[scores["metric"] == "nowhere", "state"]) == {"skipped"}
    # Nor is it a reason why other scores are what they are.
    assert "doubles" not in " ".join(place.board("l2")["note"])


def test_tables_are_joined_as_their_card_says(place: Place) -> None:
    assert len(place.table("rows")) == 4 * 2 * 3  # models, splits, rows
    largest = place.table("largest").query("model == 'mean'")
    assert largest[["seed", "gene", "x"]].to_numpy().tolist() == [[2, "C", 6.0], [2, "B", -4.0], [1, "C", 3.0]]
    counted = place.table("counted").query("model == 'mean'")
    assert counted[["sign", "n"]].to_numpy().tolist() == [["+", 2], ["-", 1]]
    assert (place.run / "tables" / "facts.csv").read_text(encoding="utf-8") == (
        "dataset,task,threshold\ndemo,double,0.30000000000000004\n"
    )
    curves = place.table("curves").query("model == 'mean'")
    # At 0: 0.1 and 0.2; at 1 half more.
    assert curves["mean"].tolist() == pytest.approx([0.15, 0.65])
    assert curves["se"].tolist() == pytest.approx([0.05, 0.05])
    assert curves["n_splits"].tolist() == [2, 2]
    names = {path.stem for path in (place.run / "tables").iterdir()}
    assert names - OURS == {"rows", "largest", "counted", "facts", "curves"}
    assert set(json.loads((place.run / "manifest.json").read_text(encoding="utf-8"))["tables"]) == names
    page = (place.run / "report" / "index.html").read_text(encoding="utf-8")
    assert all(f'href="../tables/{name}.csv"' in page for name in names)


def test_the_command_lists_tables_and_prints_one(place: Place) -> None:
    listed = {line.split()[0]: line for line in place.pertharness("tables", "scored").stdout.splitlines()}
    assert set(listed) - OURS == {"rows", "largest", "counted", "facts", "curves"}
    assert "24 rows" in listed["rows"]
    assert "the rows" in listed["rows"]
    printed = place.pertharness("tables", "runs/scored", "rows").stdout
    assert printed == (place.run / "tables" / "rows.csv").read_text(encoding="utf-8")
    mine = place.pertharness("tables", "scored", "rows", "--model", "mean", "--dataset", "demo").stdout.splitlines()
    assert len(mine) == 1 + 6
    for option, word in (("--dataset", "other"), ("--model", "men")):
        refused = place.pertharness("tables", "scored", "rows", option, word, status=2)
        assert f"has no row of the {option[2:]} {word!r}" in refused.stderr
    assert "did you mean 'rows'" in place.pertharness("tables", "scored", "row", status=2).stderr
    assert "has no models" in place.pertharness("tables", "scored", "facts", "--model", "x", status=2).stderr
    gone = place.pertharness("tables", "gone", status=2).stderr
    assert "'runs/gone' is no run" in gone.replace(os.sep, "/")
    assert "'scored'" in gone


def test_where_a_compared_model_lacks_genes_all_are_scored_on_those_that_none_lacks(place: Place) -> None:
    usual, common = place.board("shift"), place.board("shift", "common-genes")
    assert set(usual["value"]) == {60}
    assert dict(common["value"]) == dict.fromkeys(["no_change", "additive", "mean", "blind"], 58.0)
    assert place.board("shift", "common-genes", task="single").empty  # blind is in no list there
    scores = pd.read_csv(place.run / "scores.csv.gz").query("metric == 'shift' and task == 'double'")
    assert scores.groupby(["variant", "model"]).size().nunique() == 1
    manifest = json.loads((place.run / "manifest.json").read_text(encoding="utf-8"))
    again = {key for one in manifest["attempts"] for key in one["common"].values()}
    # 4 models x 2 splits of the doubles x the scorers with the variant
    assert len(again) % 8 == 0
    assert again <= set(manifest["records"])


def test_a_second_run_does_nothing_and_writes_the_same_tables(place: Place) -> None:
    said = place.pertharness("run", "r.toml", "--out", "again")
    assert "; 0 of them done now" in said.stdout
    for name in ("leaderboard.csv", "scores.csv.gz", *(f"tables/{one}.csv" for one in ("rows", "largest", "curves"))):
        assert (place.folder / "again" / name).read_bytes() == (place.run / name).read_bytes()
    place.pertharness("run", "r.toml", "--out", "again", "--scorers", "l2")
    left = {path.name for path in (place.folder / "again").glob("tables/*")}
    assert not left & {"rows.csv", "largest.csv", "counted.csv", "facts.csv", "curves.csv"}
