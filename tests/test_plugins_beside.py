"""Third-party plugins in one run with ours: good ones are ranked, and namesakes change nothing that is not theirs."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

USUAL = "variant == 'default' and stratum == 'all'"
RECIPE = """
name = "beside"
seeds = [1]
scorers = ["l2"]

[datasets.demo]
params = { n_genes = 100, n_singles = 12, n_doubles = 12, n_controls = 40, n_cells = 8 }

[[tasks]]
split = { kind = "double" }
score_on = ["test", "val"]
"""
START = """
import numpy as np, pandas as pd, pertharness
from pertharness import Card, DatasetOffer, EmbeddingOffer, MetricOffer, ModelOffer, Needs, ScorerOffer
from pertharness import hookimpl, make_prediction

def offer(name, **more):
    usual = dict(summary="a model", tasks=("double",), input="pseudobulk", information="training", cheap=True)
    return ModelOffer(name=name, **usual, **more)
"""
GOOD = """
@hookimpl
def describe():
    return Card(
        models=(
            offer("third"), offer("tuned", uses_validation=True), offer("gpu", needs=Needs(cuda="12.1")),
            offer("embedded", slots={"G": "gene"}), offer("lazy"), offer("sometimes"),
        ),
        embeddings=(EmbeddingOffer(name="ones", summary="ones", kinds=("gene",), params={"width": 2}),),
    )

@hookimpl
def embed(kind, labels, params):
    columns = [f"d{i}" for i in range(params["width"])]
    return pd.DataFrame(np.ones((len(labels), params["width"])), index=labels, columns=columns)

@hookimpl
def fit(name, train, val, embeddings):
    if name == "lazy":
        raise pertharness.Skip("not on a Sunday")
    assert (val is not None) == (name == "tuned")
    for table in embeddings.values():
        assert list(table.index) == list(train.var_names) and table.shape[1] in (2, 3)
    return np.asarray(train.X, dtype=float).mean(axis=0)

@hookimpl
def predict(name, model, controls, queries):
    answered = queries[:1] if name == "sometimes" else queries
    silent = {query: "too hard" for query in queries if query not in answered}
    return make_prediction({query: model for query in answered}, controls.var_names, silent)
"""
NAMESAKE = """
METRIC = MetricOffer(id="l2", direction="lower", best=0.0)

@hookimpl
def describe():
    return Card(
        models=(offer("mean"), offer("third")), datasets=(DatasetOffer(name="demo", summary="another"),),
        scorers=tuple(ScorerOffer(name=name, summary="s", metrics=(METRIC,)) for name in ("l2", "x")),
    )

@hookimpl
def fit():
    return "nothing"

@hookimpl
def predict(controls, queries):
    return make_prediction({query: np.zeros(controls.n_vars) for query in queries}, controls.var_names)

@hookimpl
def score(truth):
    labels = list(truth.obs["perturbation"])
    return pd.DataFrame({"perturbation": labels, "gene": "", "metric": "l2", "variant": "default",
                         "coordinate": float("nan"), "value": 7.0})
"""


@dataclass(frozen=True)
class Place:
    """A fresh environment that sees this one's packages, and a store."""

    folder: Path

    def install(self, name: str, text: str) -> None:
        """Lay out a plugin as an installer does: a module, and metadata with the entry point."""
        (packages,) = (self.folder / "venv" / "lib").glob("python*/site-packages")
        # Not a plain path: packages that are installed here for editing are found by .pth files of their own.
        parent = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
        (packages / "parent.pth").write_text(parent, encoding="utf-8")
        (packages / f"{name}_plugin.py").write_text(START + text, encoding="utf-8")
        info = packages / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[pertharness]\n{name} = {name}_plugin\n", encoding="utf-8")

    def pertharness(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        python = str(self.folder / "venv" / "bin" / "python")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            [python, "-c", "from pertharness.host.cli import main; main()", *arguments], cwd=self.folder,
            env={**kept, "PERTHARNESS_STORE": str(self.folder / "store")}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == status, done.stdout[-3000:] + done.stderr[-3000:]
        assert "Traceback" not in done.stdout + done.stderr
        return done

    def run(self, *more: str, recipe: str = RECIPE) -> tuple[pd.DataFrame, subprocess.CompletedProcess[str]]:
        (self.folder / "r.toml").write_text(recipe, encoding="utf-8")
        done = self.pertharness("run", "r.toml", "--out", "run", *more)
        board = pd.read_csv(self.folder / "run" / "leaderboard.csv", keep_default_na=False)
        return board.query(USUAL).set_index("model"), done


Run = tuple[pd.DataFrame, subprocess.CompletedProcess[str]]


def make_place(folder: Path, **plugins: str) -> Place:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    place = Place(folder)
    for name, text in plugins.items():
        place.install(name, text)
    return place


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A plugin that does all as it should."""
    return make_place(tmp_path_factory.mktemp("good"), good=GOOD)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Beside it one that gives its models, scorers and dataset the names of others."""
    return make_place(tmp_path_factory.mktemp("crowd"), good=GOOD, namesake=NAMESAKE)


@pytest.fixture(scope="module")
def whole(place: Place) -> Run:
    """A run of all models, and what it left."""
    return place.run()


def test_a_good_plugin_is_ranked_with_no_word_said_of_it(whole: Run) -> None:
    board, _ = whole
    assert board.loc["third", ["plugin", "state", "selected_on_scored"]].tolist() == ["good", "done", ""]
    ranked = board[board["rank"] != ""]
    assert {*ranked.index} == {"third", "tuned", "embedded", "additive", "mean", "no_change"}
    assert board.loc["third", "verdict"] in ("better", "worse", "undecided")


def test_a_model_that_sees_what_is_scored_is_marked(whole: Run) -> None:
    board, done = whole
    assert board.loc["tuned", "selected_on_scored"] == "yes"
    assert board.loc["tuned", "value_test_only"] not in ("", board.loc["tuned", "value"])
    assert any("tuned" in line and "^" in line for line in done.stdout.splitlines())


def test_what_cannot_run_here_is_skipped_with_the_reason(whole: Run) -> None:
    board, done = whole
    assert board.loc["gpu", "state"] == board.loc["lazy", "state"] == "skipped"
    assert "needs a CUDA device; " in board.loc["gpu", "note"]
    assert "not on a Sunday" in board.loc["lazy", "note"]
    assert "gpu: skipped: needs a CUDA device" in done.stdout.replace("\n", " ")


def test_a_query_that_is_not_answered_is_counted(whole: Run, place: Place) -> None:
    board, _ = whole
    assert int(board.loc["sometimes", "scored"]) == 1
    assert board.loc["sometimes", "expected"] == board.loc["additive", "expected"]
    assert board.loc["sometimes", "rank"] == ""
    scores = pd.read_csv(place.folder / "run" / "scores.csv.gz").query("model == 'sometimes' and variant == 'default'")
    assert scores["state"].value_counts().to_dict() == {"unanswered": len(scores) - 1, "done": 1}


def test_a_slot_is_filled_with_an_embedding(whole: Run, place: Place) -> None:
    del whole  # which writes the same folder, and comes first
    board, _ = place.run("--models", "mean,embedded[G=embed:ones],embedded[G=embed:ones[width=3]]")
    assert board["params"].tolist().count("G=embed:ones") == 1
    assert {*board["state"]} == {"done"}
    assert len(board) == 3
    said = place.pertharness("run", "r.toml", "--models", "embedded[G=embed:one]", status=2)
    assert "there is no embedding 'one'; did you mean 'ones'?" in said.stderr


def test_another_plugin_does_not_change_what_a_name_means(whole: Run, crowd: Place) -> None:
    before, (board, done) = whole[0], crowd.run()
    ours, told = ["mean", "additive", "no_change"], ["plugin", "value", "rank", "reference"]
    assert board.loc[ours, told[:2]].equals(before.loc[ours, told[:2]])
    assert board.loc["additive", "verdict"] == "reference"
    assert board.loc["namesake/mean", ["plugin", "state"]].tolist() == ["namesake", "done"]
    # Of two strangers neither has the bare name.
    assert {"good/third", "namesake/third"} <= {*board.index}
    assert "third" not in board.index
    assert "is not used" not in done.stderr  # the recipe names its scorer


def test_namesakes_are_told_apart_when_they_are_named(crowd: Place) -> None:
    board, _ = crowd.run("--models", "good/third,namesake/third,baselines/mean,namesake/mean,additive")
    assert {*board.index} == {"good/third", "namesake/third", "mean", "namesake/mean", "additive"}
    assert float(board.loc["mean", "value"]) < float(board.loc["namesake/mean", "value"])
    assert "'good/third'" in crowd.pertharness("run", "r.toml", "--models", "third", status=2).stderr


@pytest.mark.parametrize(
    ("reference", "label"),
    [("namesake/mean", "namesake/mean"), ("baselines/mean", "mean"), ("mean[ctrl_included=false]", "mean")],
)
def test_the_reference_is_the_model_that_is_named(reference: str, label: str, crowd: Place) -> None:
    recipe = RECIPE.replace('kind = "double" }', f'kind = "double" }}\nreference = "{reference}"')
    board, _ = crowd.run("--models", "baselines/mean,namesake/mean,additive", recipe=recipe)
    assert board[board["verdict"] == "reference"].index.tolist() == [label]


def test_scorers_that_give_one_metric_are_not_mixed(crowd: Place) -> None:
    _, done = crowd.run("--models", "mean,additive", recipe=RECIPE.replace('scorers = ["l2"]\n', ""))
    assert "'namesake/l2' is not used; name it with --scorers" in done.stderr
    assert "'x' is not used" in done.stderr
    values = pd.read_csv(crowd.folder / "run" / "scores.csv.gz").query("metric == 'l2'")["value"]
    assert not (values == 7).any()
    said = crowd.pertharness("run", "r.toml", "--scorers", "l2,x", status=2)
    assert "both compute the metric 'l2'" in said.stderr
    board, _ = crowd.run("--scorers", "namesake/l2", "--models", "mean,additive")
    assert {*board["value"].astype(float)} == {7.0}


def test_the_demo_stays_the_demo(crowd: Place) -> None:
    said = crowd.pertharness("list", "datasets").stdout
    names = {line.split()[0]: line.split()[1] for line in said.splitlines()}
    assert (names["demo"], names["namesake/demo"]) == ("datasets", "namesake")
