"""From the command line to the leaderboard: a small demo run, and every number in it worked out once more."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

PERTHARNESS = shutil.which("pertharness", path=str(Path(sys.executable).parent)) or "pertharness is not installed"
RECIPE = """
name = "small"
seeds = "1-2"
scorers = ["l2", "pearson", "pearson_delta"]

[datasets.demo]
params = { n_genes = 400, n_singles = 24, n_doubles = 24, n_controls = 150, n_cells = 30 }

[[tasks]]
split = { kind = "double" }

[[tasks]]
split = { kind = "unseen" }
"""
FILES = {
    "costs.csv", "joined.json", "leaderboard.csv", "leaderboard.json", "leaderboard.md", "manifest.json", "recipe.toml",
    "report", "scores.csv.gz", "tables",
}  # fmt: skip
SCORES = "dataset split seed plugin model params perturbation gene metric variant coordinate value state"
LEADERBOARD = "dataset task plugin model params metric variant value low high scored expected rank state"
LOWER = {"l2": True, "pearson": False, "pearson_delta": False}
REFERENCE = {"double": "additive", "single": "mean"}
USUAL = "variant == 'default' and stratum == 'all'"
KEYS = ["dataset", "task", "model", "metric", "variant"]


def pertharness(*arguments: object, cwd: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Call the command and check its exit status, and that nobody sees a traceback."""
    done = subprocess.run([PERTHARNESS, *map(str, arguments)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == status, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert "Traceback" not in done.stdout + done.stderr
    return done


@dataclass(frozen=True)
class Run:
    folder: Path
    store: Path
    recipe: Path
    said: subprocess.CompletedProcess[str]

    @property
    def scores(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / "scores.csv.gz", keep_default_na=False, na_values={"value": ["", "nan"]})

    @property
    def leaderboard(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / "leaderboard.csv", keep_default_na=False, na_values=[""])

    def means(self) -> pd.DataFrame:
        """Observed means, one row per perturbation."""
        (path,) = (self.store / "datasets").glob("*/pseudobulk.h5ad")
        return frame(path)


def frame(path: Path) -> pd.DataFrame:
    adata = anndata.read_h5ad(path)
    matrix = adata.X.toarray() if hasattr(adata.X, "toarray") else np.asarray(adata.X)
    return pd.DataFrame(matrix, index=adata.obs["perturbation"].astype(str), columns=adata.var_names)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("end to end, µ")  # a path as people have them
    recipe = folder / "small.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    said = pertharness("run", recipe, "--store", folder / "store", "--out", folder / "run", cwd=folder)
    return Run(folder / "run", folder / "store", recipe, said)


def same_tables(one: Path, other: Path) -> bool:
    return all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in ("leaderboard.csv", "scores.csv.gz")
    )


# --- what a run leaves


def test_a_run_leaves_every_file_and_nothing_else(run: Run) -> None:
    assert {path.name for path in run.folder.iterdir()} == FILES
    assert [path.name for path in (run.folder / "report").iterdir()] == ["index.html"]
    assert not any((run.store / "work").iterdir())


@pytest.mark.parametrize(("name", "columns"), [("scores.csv.gz", SCORES), ("leaderboard.csv", LEADERBOARD)])
def test_a_table_has_at_least_the_columns_that_are_promised(run: Run, name: str, columns: str) -> None:
    assert not set(columns.split()) - set(pd.read_csv(run.folder / name).columns)


def test_the_json_holds_the_rows_of_the_csv(run: Run) -> None:
    rows = json.loads((run.folder / "leaderboard.json").read_text(encoding="utf-8"))["rows"]
    told = pd.DataFrame(rows).astype({"value": float, "rank": float})
    pd.testing.assert_series_equal(told["value"], run.leaderboard["value"])
    assert told["model"].tolist() == run.leaderboard["model"].tolist()


def test_the_screen_shows_what_a_scientist_looks_for(run: Run) -> None:
    shown = run.said.stdout
    words = ("held-out doubles", "unseen singles", "model", "l2 [95 %]", "pearson", "scored", "vs ")
    for word in (*words, "reference", "worse", "12/12", "pertharness tables", str(run.folder)):
        assert word in shown
    assert "linear: skipped: does not predict doubles" in shown
    assert max(map(len, shown.splitlines()[:20])) <= 80


def test_the_report_is_a_page_that_needs_nothing_else(run: Run) -> None:
    text = (run.folder / "report" / "index.html").read_text(encoding="utf-8")
    links: list[str] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            links.extend(value for name, value in attrs if name in ("href", "src") and value)

    Links().feed(text)
    assert all((run.folder / "report" / link).exists() for link in links if not link.startswith("#"))
    assert all(model in text for model in ("additive", "mean", "linear", "no_change"))


def test_costs_name_the_record_that_they_were_measured_in(run: Run) -> None:
    costs = pd.read_csv(run.folder / "costs.csv")
    fits = costs[costs["phase"].isin(["fit", "predict"])]
    # 2 seeds x (3 models on doubles + 3 on singles) x (fit + predict)
    assert len(fits) == 24
    assert (fits["wall_s"] > 0).all()
    assert (fits["peak_rss_mb"] > 20).all()
    assert all((run.store / stage / key).is_dir() for stage, key in zip(costs["stage"], costs["key"], strict=True))


def test_the_manifest_leads_to_every_record(run: Run) -> None:
    manifest = json.loads((run.folder / "manifest.json").read_text(encoding="utf-8"))
    for key, record in manifest["records"].items():
        if record["state"] == "done":
            status = json.loads((run.store / record["stage"] / key / "status.json").read_text(encoding="utf-8"))
            assert status["state"] == "done"
        else:
            assert record["state"] == "skipped"
            assert record["message"]


# --- what the demo is known to show


def test_each_baseline_is_good_at_what_it_is_made_for(run: Run) -> None:
    table = run.leaderboard.query("metric == 'l2' and variant == 'default' and stratum == 'all'")
    double = table[table["task"] == "double"].set_index("model")
    single = table[table["task"] == "single"].set_index("model")
    assert double["rank"].idxmin() == "additive"
    assert double.loc["no_change", "verdict"] == "worse"
    assert single.loc["mean", "value"] < single.loc["no_change", "value"]
    assert single.loc["linear", "value"] < single.loc["no_change", "value"]
    # The demo's genes belong to programmes, which linear finds: it is at least about as good as the mean.
    assert single.loc["linear", "value"] < 1.05 * single.loc["mean", "value"]
    assert double.loc["linear", ["state", "scored", "expected"]].tolist() == ["skipped", 0, 12]


# --- every number once more


def test_l2_is_the_distance_of_the_exported_prediction_and_the_observation(run: Run, tmp_path: Path) -> None:
    pertharness("export", run.folder, tmp_path / "out", cwd=tmp_path)
    truth = run.means()
    # panel: the genes with the highest control mean, all of them here, as 400 < 1000
    scores = run.scores.query("metric == 'l2' and variant == 'default' and state == 'done'")
    assert len(scores) == 3 * 12 + 3 * 10
    for (split, seed, model), rows in scores.groupby(["task", "seed", "model"]):
        predicted = frame(tmp_path / "out" / f"demo-{split}-seed{seed}-baselines-{model}.h5ad")
        assert list(predicted.columns) == list(truth.columns)
        expected = np.sqrt(((predicted - truth.loc[predicted.index]) ** 2).sum(axis=1))
        np.testing.assert_allclose(rows["value"], expected.loc[rows["perturbation"]], rtol=1e-12)


def test_the_baselines_predict_what_their_definitions_say(run: Run, tmp_path: Path) -> None:
    pertharness("export", run.folder, tmp_path / "out", cwd=tmp_path)
    truth = run.means()
    control = truth.loc["control"]
    for seed in (1, 2):
        of = {name: frame(tmp_path / "out" / f"demo-double-seed{seed}-baselines-{name}.h5ad") for name in
              ("no_change", "additive", "mean")}  # fmt: skip
        for double, row in of["additive"].iterrows():
            a, b = str(double).split("+")
            np.testing.assert_allclose(row, truth.loc[a] + truth.loc[b] - control, atol=1e-12)
        np.testing.assert_allclose(of["no_change"], np.tile(control, (len(of["no_change"]), 1)), atol=1e-12)
        (split,) = [
            found for path in (run.store / "splits").glob("*/split.json")
            if (found := json.loads(path.read_text(encoding="utf-8")))["kind"] == "double" and found["seed"] == seed
        ]  # fmt: skip
        train = truth.loc[[label for label in split["train"] if label != "control"]].mean()
        np.testing.assert_allclose(of["mean"], np.tile(train, (len(of["mean"]), 1)), atol=1e-12)


def test_the_leaderboard_is_what_the_scores_say(run: Run) -> None:
    scores, board = run.scores, run.leaderboard.query("stratum == 'all'")
    assert len(board) == len(scores.groupby(KEYS))
    for (task, metric, variant), group in scores.groupby(["task", "metric", "variant"]):
        wide = group.pivot(index="model", columns=["seed", "perturbation"], values="value")
        reference = wide.loc[REFERENCE[str(task)]].notna()
        common = wide.loc[:, reference] if reference.any() else wide  # what the reference answered
        values = common.mean(axis=1)[common.notna().all(axis=1)]
        ranks = values.round(12).rank(method="min", ascending=LOWER[str(metric)])
        here = (board["task"] == task) & (board["metric"] == metric) & (board["variant"] == variant)
        rows = board[here].set_index("model")
        assert set(rows.index) == set(wide.index)
        for model, row in rows.iterrows():
            assert row["scored"] == wide.loc[model].notna().sum()
            assert row["expected"] == wide.shape[1]
            if model in values.index:
                assert row["value"] == pytest.approx(values[model], rel=1e-10)
                assert row["low"] <= row["value"] <= row["high"]
                # A sum over the genes that a model happens to predict is no match for another's.
                assert row["rank"] == ranks[model] if variant != "published-code" else np.isnan(row["rank"])
            else:
                assert np.isnan(row["rank"])


def test_the_verdict_follows_from_the_interval_of_the_difference(run: Run) -> None:
    compared = run.leaderboard[run.leaderboard["verdict"].isin(["better", "worse"])]
    assert len(compared)
    sign = compared["metric"].map(LOWER).map({True: -1, False: 1}) * np.sign(compared["difference"])
    assert (sign == compared["verdict"].map({"better": 1, "worse": -1})).all()
    assert ((compared["difference_low"] > 0) | (compared["difference_high"] < 0)).all()


# --- again, and the same


def test_a_run_elsewhere_does_nothing_and_writes_the_same_bytes(run: Run, tmp_path: Path) -> None:
    said = pertharness("run", run.recipe, "--store", run.store, "--out", tmp_path / "again", cwd=tmp_path)
    assert "; 0 of them done now" in said.stdout
    assert said.stderr == ""
    assert same_tables(run.folder, tmp_path / "again")


def test_a_second_run_does_nothing_quickly_and_leaves_its_files(run: Run, tmp_path: Path) -> None:
    again = ("run", run.recipe, "--store", run.store, "--out", tmp_path / "again")
    first = pertharness(*again, cwd=tmp_path)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "again").rglob("*.*")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    second = pertharness(*again, cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert second.stdout == first.stdout
    changed = {path.name for path, time in made.items() if path.stat().st_mtime_ns != time}
    assert changed == {"manifest.json", "recipe.toml"}
    # Of the processor, as the machine may be busy with other things: 0.8 s; it is more where others use the same core.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.6


def test_another_store_and_one_worker_at_a_time_give_the_same_bytes(run: Run, tmp_path: Path) -> None:
    pertharness("run", run.recipe, "--store", tmp_path / "other", "--out", tmp_path / "run", "--jobs", 1, cwd=tmp_path)
    assert same_tables(run.folder, tmp_path / "run")
    keys = [{path.name for path in (store / "scores").iterdir()} for store in (run.store, tmp_path / "other")]
    assert keys[0] == keys[1]


def test_the_recipe_that_a_run_leaves_repeats_it(run: Run, tmp_path: Path) -> None:
    left = run.folder / "recipe.toml"
    said = pertharness("run", left, "--store", run.store, "--out", tmp_path / "again", cwd=tmp_path)
    assert "; 0 of them done now" in said.stdout
    assert same_tables(run.folder, tmp_path / "again")
    assert (tmp_path / "again" / "recipe.toml").read_bytes() == left.read_bytes()


def test_only_what_depends_on_a_change_is_done_again(run: Run, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(run.store, store)
    models = ["--models", "mean,linear[k=3]", "--scorers", "l2"]
    said = pertharness("run", run.recipe, "--store", store, "--out", tmp_path / "run", *models, cwd=tmp_path)
    # mean is there; linear with k = 3 is fitted and scored for 2 seeds, on singles
    assert "; 4 of them done now" in said.stdout
    board = pd.read_csv(tmp_path / "run" / "leaderboard.csv", keep_default_na=False)
    assert set(zip(board["model"], board["params"], strict=True)) == {("mean", ""), ("linear", "k=3")}
    assert set(board["metric"]) == {"l2"}


def test_dry_run_says_what_is_there_and_does_nothing(run: Run, tmp_path: Path) -> None:
    said = pertharness("run", run.recipe, "--store", run.store, "--dry-run", "--seeds", "1-3", cwd=tmp_path).stdout
    lines = said.splitlines()
    done = [line for line in lines if "  done  " in line]
    to_do = [line for line in lines if "  to do  " in line]
    impossible = [line for line in lines if "  skipped  " in line]
    jobs = len(done) + len(to_do) + len(impossible)
    rest = "the others are in the store or cannot be done here"
    assert lines[-1] == f"{jobs} jobs, {len(to_do)} to do; {rest}"
    assert len(done) == 53
    assert to_do
    assert all("seed 3" in line for line in to_do)
    assert any("linear on demo double" in line for line in impossible)
    assert list(tmp_path.iterdir()) == []
    # The first column is the key of a record, or of what will be one.
    key = done[0].split()[0]
    assert len(list(run.store.glob(f"*/{key}*"))) == 1


def test_run_all_needs_nothing_but_itself(tmp_path: Path) -> None:
    env = {**os.environ, "PERTHARNESS_STORE": str(tmp_path / "store")}
    command = [PERTHARNESS, "run", "--all", "--seeds", "1", "--task", "double", "--scorers", "l2"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    board = pd.read_csv(tmp_path / "runs" / "demo" / "leaderboard.csv").query(
        "variant == 'default' and stratum == 'all'"
    )
    assert board.set_index("model")["rank"].idxmin() == "additive"
    assert set(board["model"]) == {"no_change", "additive", "mean", "linear"}
    assert (tmp_path / "store" / "predictions").is_dir()


def test_several_screens_are_ranked_each_by_itself(run: Run, tmp_path: Path) -> None:
    (source,) = (run.store / "datasets").glob("*/dataset.h5ad")
    for name in ("one", "two"):
        shutil.copy(source, tmp_path / f"{name}.h5ad")
    asked = ["--data", "one.h5ad", "--data", "two.h5ad", "--seeds", 1, "--task", "single", "--scorers", "l2"]
    asked += ["--models", "mean,no_change", "--store", "store", "--name", "both"]
    pertharness("run", *asked, cwd=tmp_path)
    board = pd.read_csv(tmp_path / "runs" / "both" / "leaderboard.csv").query(
        "variant == 'default' and stratum == 'all'"
    )
    by_data = board.set_index(["dataset", "model"])
    assert sorted(by_data.index) == [(d, m) for d in ("one", "two") for m in ("mean", "no_change")]
    assert by_data.loc["one", "value"].tolist() == by_data.loc["two", "value"].tolist()
