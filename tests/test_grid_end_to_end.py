"""A grid from a recipe to its row: what was chosen is worked out again from the records of a screen where k matters."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

PERTHARNESS = shutil.which("pertharness", path=str(Path(sys.executable).parent)) or "pertharness is not installed"
N_GENES, N_SINGLES, RANK = 40, 36, 3
KS = ("k=1", "k=3", "k=30")
RECIPE = """
name = "grid"
seeds = [1, 2]
models = ["mean", "linear[k=1|3|30]", "linear[k=1]", "linear[k=3]", "linear[k=30]"]
scorers = ["l2", "pearson_delta"]

[datasets.planted]
file = "planted.h5ad"

[[tasks]]
name = "tested"
split = { kind = "unseen", folds = 3 }

[[tasks]]
name = "both"
split = { kind = "unseen", folds = 3 }
score_on = ["test", "val"]
"""


def planted() -> anndata.AnnData:
    """Return a screen whose effects have three dimensions: one is too few for a model, and thirty fit the noise."""
    rng = np.random.default_rng(0)
    genes = [f"G{i:02}" for i in range(N_GENES)]
    of_gene, mixing = rng.normal(size=(N_GENES, RANK)), np.diag([1.0, 0.9, 0.8])
    effects = of_gene @ mixing @ of_gene[:N_SINGLES].T / RANK  # gene x perturbation, which is a gene as well
    labels = ["control"] * 40 + [gene for gene in genes[:N_SINGLES] for _ in range(6)]
    means = np.column_stack([np.full(N_GENES, 3.0), 3.0 + 0.5 * effects])
    cells = means[:, [0] * 40 + [1 + i for i in range(N_SINGLES) for _ in range(6)]].T
    x = np.maximum(cells + rng.normal(scale=0.3, size=cells.shape), 0).astype(np.float32)
    # On the scale of log1p of counts per 10 000, as the harness checks.
    x = np.log1p(np.expm1(x) / np.expm1(x).sum(axis=1, keepdims=True) * 1e4).astype(np.float32)
    obs = pd.DataFrame({"perturbation": labels}, index=[f"c{i}" for i in range(len(labels))])
    return anndata.AnnData(x, obs=obs, var=pd.DataFrame(index=genes))


@dataclass(frozen=True)
class Run:
    root: Path
    said: str

    def csv(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.root / "run" / name, keep_default_na=False, na_values={"value": [""]})

    def record(self, key: str) -> Path:
        (folder,) = (self.root / "store").glob(f"*/{key}")
        return folder

    def job(self, key: str) -> dict[str, object]:
        job: dict[str, object] = json.loads((self.record(key) / "job.json").read_text())
        return job


def means_of(path: Path) -> pd.DataFrame:
    adata = anndata.read_h5ad(path)
    matrix = adata.X.toarray() if hasattr(adata.X, "toarray") else np.asarray(adata.X)
    return pd.DataFrame(matrix, index=adata.obs["perturbation"].astype(str), columns=adata.var_names)


def pertharness(*words: str, cwd: Path) -> str:
    done = subprocess.run([PERTHARNESS, *words], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("grid")
    planted().write_h5ad(root / "planted.h5ad")
    (root / "grid.toml").write_text(RECIPE)
    return Run(root, pertharness("run", "grid.toml", "--store", "store", "--out", "run", "--jobs", "2", cwd=root))


def test_scores_on_val_are_what_the_records_of_the_candidates_say(run: Run) -> None:
    table = run.csv("tables/selection.csv")
    assert len(table) == 2 * 2 * 3  # tasks, seeds, candidates
    for row in table.itertuples():
        inputs = run.job(row.record)["inputs"]
        predicted, truth = means_of(Path(inputs["prediction"])), means_of(Path(inputs["pseudobulk"]))
        val = json.loads(Path(inputs["split"]).read_text())["val"]
        distances = [float(np.sqrt(((predicted.loc[name] - truth.loc[name]) ** 2).sum())) for name in val]
        assert row.n == len(val) == len(distances)
        assert row.value == pytest.approx(sum(distances) / len(distances), rel=1e-9)


def test_the_smallest_mean_is_chosen_in_each_split(run: Run) -> None:
    table = run.csv("tables/selection.csv")
    for _, group in table.groupby(["task", "seed"]):
        assert group["params"].tolist() == list(KS)
        best = min(group.itertuples(), key=lambda row: row.value)  # the first of equal ones
        assert group.loc[group["chosen"] == "yes", "params"].tolist() == [best.params]
        assert best.params == "k=3"  # as planted
        assert group["value"].max() > 1.2 * best.value


def test_the_row_has_the_test_scores_of_the_chosen_models(run: Run) -> None:
    table, scores = run.csv("tables/selection.csv"), run.csv("scores.csv.gz")
    keys = ["seed", "perturbation", "metric", "variant"]
    for task in ("tested", "both"):
        linear = scores[(scores["task"] == task) & (scores["model"] == "linear")]
        row = linear[linear["params"] == "k=*"].set_index(keys)
        chosen = table[(table["task"] == task) & (table["chosen"] == "yes")]
        parts = [
            linear[(linear["seed"] == each.seed) & (linear["params"] == each.params)] for each in chosen.itertuples()
        ]
        plain = pd.concat(parts).set_index(keys)
        pd.testing.assert_series_equal(row["value"].sort_index(), plain["value"].sort_index(), rtol=1e-12)
        assert set(row["part"]) == ({"test"} if task == "tested" else {"test", "val"})


def test_test_scores_of_the_others_are_not_computed(run: Run) -> None:
    table = run.csv("tables/selection.csv").query("task == 'tested'")
    predictions = {
        key: Path(run.job(key)["inputs"]["prediction"]).parent.name
        for key in table["record"]  # type: ignore[index]
    }
    chosen = {predictions[key] for key in table.loc[table["chosen"] == "yes", "record"]}
    scored = []
    for path in (run.root / "store" / "scores").glob("*/job.json"):
        job = json.loads(path.read_text())
        prediction = Path(job["inputs"]["prediction"]).parent.name
        if prediction in predictions.values() and job["options"]["score_on"] != ["val"]:
            scored.append(prediction)
    assert set(scored) == chosen
    assert len(scored) == 2 * len(chosen)  # two scorers


def test_a_grid_is_marked_where_val_is_scored_and_its_test_score_stands_beside(run: Run) -> None:
    board = run.csv("leaderboard.csv").query("metric == 'l2' and variant == 'default' and stratum == 'all'")
    rows = board[board["params"] == "k=*"].set_index("task")
    assert rows["selected_on_scored"].to_dict() == {"both": "yes", "tested": ""}
    scores = run.csv("scores.csv.gz").query("task == 'both' and params == 'k=*' and metric == 'l2' and part == 'test'")
    test_only = scores.loc[scores["variant"] == "default", "value"].mean()
    assert float(rows.loc["both", "value_test_only"]) == pytest.approx(test_only, rel=1e-9)
    assert board.loc[board["params"] == "k=3", "selected_on_scored"].tolist() == ["", ""]


def test_the_choice_is_shown_and_kept(run: Run) -> None:
    folded = " ".join(run.said.split())
    assert "linear[k=*]: chosen by l2 on val, for each split and training seed: k=3 (2 of 2)" in folded
    assert "selection 12 rows" in " ".join(pertharness("tables", "run", cwd=run.root).split())
    shown = pertharness("tables", "run", "selection", "--model", "linear[k=3]", cwd=run.root)
    assert shown.count("\n") == 1 + 4
    kept = json.loads((run.root / "run" / "leaderboard.json").read_text())["selection"]
    assert [row["params"] for row in kept] == list(KS) * 4
    assert "linear[k=1|3|30]" in (run.root / "run" / "recipe.toml").read_text()


def test_a_second_run_does_nothing_and_leaves_the_same_files(run: Run) -> None:
    files = sorted(path for path in (run.root / "run").rglob("*.csv*") if path.name != "costs.csv")
    before = [path.read_bytes() for path in files]
    (run.root / "run" / "joined.json").unlink()
    said = pertharness("run", "run/recipe.toml", "--store", "store", "--out", "run", cwd=run.root)
    assert "; 0 of them done now" in said
    assert [path.read_bytes() for path in files] == before


def test_a_dry_run_lists_the_scores_of_what_will_be_chosen(run: Run) -> None:
    asked = ("run", "grid.toml", "--models", "mean,linear[k=1|3|30]", "--dry-run", "--store")
    done = pertharness(*asked, "store", cwd=run.root).splitlines()
    chosen = {line[:12] for line in done if "linear[k=*]" in line}
    assert chosen == {key[:12] for key in run.csv("scores.csv.gz").query("params == 'k=*'")["record"]}
    assert done[-1].split(", ")[1].startswith("0 to do")
    shutil.copytree(run.root / "store", run.root / "other", ignore=shutil.ignore_patterns("scores"))
    before = pertharness(*asked, "other", cwd=run.root).splitlines()
    assert sorted(line.strip() for line in before if "linear[k=*]" in line) == sorted(
        f"to do     score {metric} of linear[k=*], {task} seed {seed}: of the candidate that is chosen on val"
        for metric in ("l2", "pearson_delta") for task in ("both", "tested") for seed in (1, 2)
    )  # fmt: skip
    assert before[-1].split()[0] == done[-1].split()[0]  # the number of jobs
    named = pertharness("run", "grid.toml", "--store", "other", "--dry-run", cwd=run.root)
    assert named.count("of linear[k=*], both seed 1: of the candidate that is chosen") == 2
