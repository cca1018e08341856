"""Every command as a user calls it: what it answers, its exit status, and what it says of a mistake."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from pertharness.host.execution.sandbox import describe_machine, find_mechanism
from pertharness.host.store.prune import prune
from pertharness.host.store.records import Store
from scipy import sparse

PERTHARNESS = shutil.which("pertharness", path=str(Path(sys.executable).parent)) or "pertharness is not installed"
GENES = [f"G{i:02d}" for i in range(40)]


def pertharness(*arguments: object, cwd: Path, status: int = 0, **env: str | None) -> subprocess.CompletedProcess[str]:
    """Call the command and check its exit status, and that nobody sees a traceback."""
    merged = {name: value for name, value in {**os.environ, **env}.items() if value is not None}
    done = subprocess.run([PERTHARNESS, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, env=merged)
    assert done.returncode == status, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert "Traceback" not in done.stdout + done.stderr
    assert "fault of pertharness" not in done.stderr
    return done


def screen(**changed: Any) -> anndata.AnnData:
    """A screen of means: control, 8 singles, and 12 doubles of these; log1p of counts per 10 000 by construction."""
    rng = np.random.default_rng(7)
    singles = GENES[:8]
    doubles = [f"{singles[i]}+{singles[(i + step) % 8]}" for step in (1, 3) for i in range(0, 8, step // 2 + 1)]
    labels = ["ctrl", *[f"{gene}+ctrl" for gene in singles], *doubles]
    effect = {gene: rng.normal(0, 0.4, 40) for gene in singles}
    base = rng.normal(5, 1, 40)
    logs = np.array([base + sum(effect.get(part, np.zeros(40)) for part in label.split("+")) for label in labels])
    logs += rng.normal(0, 0.05, logs.shape)
    rates = np.exp(logs)
    values = np.log1p(1e4 * rates / rates.sum(axis=1, keepdims=True))
    obs = pd.DataFrame({"condition": labels}, index=[f"row{i}" for i in range(len(labels))])
    adata = anndata.AnnData(X=values, obs=obs, var=pd.DataFrame(index=GENES))
    for name, value in changed.items():
        setattr(adata, name, value)
    return adata


@dataclass(frozen=True)
class Bench:
    """A folder with a screen, a split of it, and a run on both."""

    folder: Path

    @property
    def truth(self) -> anndata.AnnData:
        manifest = json.loads((self.folder / "runs" / "screen" / "manifest.json").read_text(encoding="utf-8"))
        key = manifest["datasets"]["screen"]
        return anndata.read_h5ad(self.folder / "store" / "datasets" / key / "pseudobulk.h5ad")

    @property
    def split(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "split.json").read_text(encoding="utf-8"))
        return found


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("commands")
    screen().write_h5ad(folder / "screen.h5ad")
    pertharness("split", "screen.h5ad", "--kind", "double", "--out", "split.json", "--store", "store", cwd=folder)
    asked = ("run", "--data", "screen.h5ad", "--split", "split.json", "--store", "store")
    pertharness(*asked, cwd=folder)
    return Bench(folder)


# --- mistakes in options and recipes: exit 2, and what may have been meant

MISTAKES = {
    "no command": (["rnu"], "did you mean 'run'?"),
    "nothing to run": (["run"], "--all"),
    "unknown option": (["run", "--al"], "--all"),
    "unknown model": (["run", "--all", "--models", "liner"], "'liner'; did you mean 'linear'?"),
    "unknown plugin of a model": (["run", "--all", "--models", "basel/mean"], "'basel/mean'; did you mean 'mean'?"),
    "unknown scorer": (["run", "--all", "--scorers", "pearson_dleta"], "did you mean 'pearson_delta'?"),
    "unknown parameter": (["run", "--all", "--models", "linear[rigde=1]"], "did you mean 'ridge'?"),
    "unknown slot": (["run", "--all", "--models", "mean[G=random]"], "has no slot 'G'"),
    "open bracket": (["run", "--all", "--models", "linear[k=4"], "bracket"),
    "no model": (["run", "--all", "--models", ""], "expected NAME"),
    "model twice": (["run", "--all", "--models", "mean,mean"], "there twice"),
    "scorer twice": (["run", "--all", "--scorers", "l2,l2"], "there twice"),
    "seeds downwards": (["run", "--all", "--seeds", "5-1"], "'5-1'"),
    "no seeds": (["run", "--all", "--seeds", ""], "'1-5'"),
    "unknown task": (["run", "--all", "--task", "triple"], "'double', 'single'"),
    "unknown device": (["run", "--all", "--device", "gpu"], "expected 'cpu', 'cuda' or 'cuda:N', got 'gpu'"),
    "name outside": (["run", "--all", "--name", "../x"], "got '../x'"),
    "no time": (["run", "--all", "--timeout", "0"], "--timeout"),
    "endless time": (["run", "--all", "--timeout", "inf"], "finite"),
    "no jobs": (["run", "--all", "--jobs", "0"], "--jobs"),
    "unknown state": (["run", "--all", "--retry", "done"], "'done'"),
    "no file": (["run", "--data", "absent.h5ad"], "absent.h5ad"),
    "no recipe": (["run", "absent.toml"], "absent.toml"),
    "recipe and data": (["run", "x.toml", "--all"], "recipe"),
    "no split file": (["run", "--all", "--split", "absent.json"], "absent.json"),
    "flag of files on the demo": (["run", "--all", "--layer", "x"], "'layer'"),
    "unknown kind": (["split", "demo", "--kind", "duble", "--out", "x.json"], "did you mean 'double'?"),
    "unknown variant": (["split", "demo", "--kind", "double", "--variant", "norma", "--out", "x"], "'norman'"),
    "folds of a double": (["split", "demo", "--kind", "double", "--folds", "3", "--out", "x"], "'folds'"),
    "split to a folder": (["split", "demo", "--kind", "double", "--out", "."], "directory"),
    "unknown dataset": (["split", "dmo", "--kind", "double", "--out", "x"], "did you mean 'demo'?"),
    "odd dataset": (["data", "check", "../a b"], "no dataset '../a b'"),
    "info of nothing": (["data", "info", "nroman"], "did you mean 'norman'?"),
    "fetch of nothing": (["data", "fetch", "nroman"], "did you mean 'norman'?"),
    "list of nothing": (["list", "model"], "'models'"),
    "export of no run": (["export", ".", "out"], "not the folder of a run"),
    "verify of neither": (["verify", "."], "a run's folder, or a store's"),
    "prune of everything": (["store", "prune"], "--keep RUN"),
    "no age": (["store", "prune", "--older", "30"], "90m, 12h, 30d, 2w"),
    "keep of no run": (["store", "prune", "--keep", "."], "not the folder of a run"),
    "score without split": (["score", "p.h5ad", "--data", "x.h5ad", "--name", "m"], "--split"),
    "score of no file": (["score", "p", "--data", "x", "--name", "m", "--split", "s"], "no file 'p'"),
}


CALL_EACH = """
import contextlib, io, json, sys
from pertharness.host.cli import main
said = {}
for case, arguments in json.load(sys.stdin).items():
    sys.argv, caught = ["pertharness", *arguments], io.StringIO()
    with contextlib.redirect_stderr(caught):
        try:
            main()
        except SystemExit as ended:
            said[case] = [ended.code, caught.getvalue()]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def slips(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Exit status and message of each mistake, from one process: starting one for each would take most of the time."""
    folder = tmp_path_factory.mktemp("mistakes")
    asked = json.dumps({case: arguments for case, (arguments, _) in MISTAKES.items()})
    env = {**os.environ, "PERTHARNESS_STORE": str(bench.folder / "store")}
    command = [sys.executable, "-c", CALL_EACH]
    done = subprocess.run(command, input=asked, cwd=folder, env=env, capture_output=True, text=True, check=True)
    assert list(folder.iterdir()) == []  # a mistake is found before anything is written
    found: dict[str, tuple[int, str]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_in_the_options_is_named_and_exits_2(case: str, slips: dict[str, tuple[int, str]]) -> None:
    status, said = slips[case]
    assert MISTAKES[case][1] in said
    assert status == 2
    assert "fault of pertharness" not in said


@pytest.mark.parametrize("case", ["unknown model", "odd dataset", "no command"])
def test_a_mistake_shows_no_traceback_and_exits_2_as_a_process(case: str, bench: Bench, tmp_path: Path) -> None:
    arguments, expected = MISTAKES[case]
    said = pertharness(*arguments, cwd=tmp_path, status=2, PERTHARNESS_STORE=str(bench.folder / "store"))
    assert expected in said.stderr


RECIPE = """name = "small"

[datasets.demo]

[[tasks]]
split = {{ kind = "{kind}" }}
{more}
"""


@pytest.mark.parametrize(
    ("kind", "more", "line", "expected"),
    [
        ("double", "score_om = ['test']", 7, "did you mean 'score_on'?"),
        ("duble", "", 6, "did you mean 'double'?"),
        ("double", "dataset = 'dmo'", 7, "did you mean 'demo'?"),
        ("double", "score_on = test", 7, "not TOML"),
    ],
)
def test_a_mistake_in_a_recipe_is_named_with_its_line(
    kind: str, more: str, line: int, expected: str, tmp_path: Path
) -> None:
    (tmp_path / "r.toml").write_text(RECIPE.format(kind=kind, more=more), encoding="utf-8")
    said = pertharness("run", "r.toml", "--store", "store", cwd=tmp_path, status=2)
    assert f"r.toml:{line}: " in said.stderr
    assert expected in said.stderr


def test_a_model_of_a_recipe_that_is_not_installed_is_shown_as_such(bench: Bench, tmp_path: Path) -> None:
    recipe = f"""models = ["mean", "scgpt"]
    [datasets.mine]
    file = {str(bench.folder / "screen.h5ad")!r}
    [[tasks]]
    split = {{ kind = "unseen", folds = 2 }}
    """
    (tmp_path / "r.toml").write_text(recipe, encoding="utf-8")
    said = pertharness("run", "r.toml", "--seeds", 1, "--store", bench.folder / "store", "--out", "run", cwd=tmp_path)
    assert "not installed: 'scgpt'" in said.stdout
    board = pd.read_csv(tmp_path / "run" / "leaderboard.csv").query("model == 'scgpt'")
    assert set(board["state"]) == {"skipped"}
    assert set(board["scored"]) == {0}
    assert (board["expected"] > 0).all()


# --- options that choose


def test_name_out_and_parameters_are_what_the_options_say(bench: Bench, tmp_path: Path) -> None:
    asked = ["run", "--data", bench.folder / "screen.h5ad", "--store", bench.folder / "store", "--task", "single"]
    asked += ["--models", "linear[k=2, ridge=1],mean", "--scorers", "l2,pearson", "--seeds", "1,3", "--jobs", 2]
    pertharness(*asked, "--name", "mine", cwd=tmp_path)
    folder = tmp_path / "runs" / "mine"
    board = pd.read_csv(folder / "leaderboard.csv", keep_default_na=False)
    assert {*zip(board["model"], board["params"], strict=True)} == {("linear", "k=2, ridge=1"), ("mean", "")}
    assert {*board["task"]} == {"single"}
    assert {*board["metric"]} == {"l2", "pearson"}
    assert {*pd.read_csv(folder / "scores.csv.gz")["seed"]} == {1, 3}
    assert "seeds = [1, 3]" in (folder / "recipe.toml").read_text(encoding="utf-8")
    assert "mine" in pertharness("list", "runs", "--folder", "runs", cwd=tmp_path).stdout


def test_a_limit_of_time_ends_a_job_and_retry_does_it_again(bench: Bench, tmp_path: Path) -> None:
    asked = ["run", "--data", bench.folder / "screen.h5ad", "--split", bench.folder / "split.json", "--models", "mean"]
    asked += ["--scorers", "l2", "--store", "store", "--out", "run"]
    shutil.copytree(bench.folder / "store", tmp_path / "store")
    for record in (tmp_path / "store" / "predictions").iterdir():
        shutil.rmtree(record)
    said = pertharness(*asked, "--timeout", "0.001", cwd=tmp_path, status=1)
    assert "timeout" in said.stdout
    assert "raise --timeout" in said.stderr
    board = pd.read_csv(tmp_path / "run" / "leaderboard.csv")
    assert {*board["state"]} == {"timeout"}
    # Without --retry the record stays; with it the job is done again.
    assert "; 0 of them done now" in pertharness(*asked, cwd=tmp_path, status=1).stdout
    pertharness(*asked, "--retry", "timeout", cwd=tmp_path)
    assert {*pd.read_csv(tmp_path / "run" / "leaderboard.csv")["state"]} == {"done"}


# --- splits


def test_split_writes_what_a_run_draws(bench: Bench, tmp_path: Path) -> None:
    split = bench.split
    assert (split["kind"], split["seed"]) == ("double", 1)
    parts = [set(split[part]) for part in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 21
    asked = ["run", "--data", bench.folder / "screen.h5ad", "--task", "double", "--seeds", 1, "--models", "mean"]
    pertharness(*asked, "--scorers", "l2", "--store", bench.folder / "store", "--out", "run", cwd=tmp_path)
    drawn = pd.read_csv(tmp_path / "run" / "scores.csv.gz")
    assert {*drawn["perturbation"]} == parts[2]
    given = pd.read_csv(bench.folder / "runs" / "screen" / "scores.csv.gz").query("model == 'mean' and metric == 'l2'")
    assert {*given["split"]} == {"file"}
    np.testing.assert_array_equal(*(x.sort_values(["perturbation", "variant"])["value"] for x in (drawn, given)))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s["train"].append(s["test"][0]), "in two parts|is in"),
        (lambda s: s["test"].append("NOSUCH"), "'NOSUCH' of test is not in the data"),
        (lambda s: s.pop("test"), "test"),
    ],
)
def test_a_split_that_does_not_fit_is_refused_with_the_name(
    change: Any, expected: str, bench: Bench, tmp_path: Path
) -> None:
    split = {part: list(bench.split[part]) for part in ("train", "val", "test")}
    doubled = split["test"][0]
    change(split)
    (tmp_path / "bad.json").write_text(json.dumps(split), encoding="utf-8")
    asked = ["run", "--data", bench.folder / "screen.h5ad", "--split", "bad.json", "--store", bench.folder / "store"]
    done = subprocess.run([PERTHARNESS, *map(str, asked)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode in (1, 2)
    text = done.stdout + done.stderr
    assert any(word in text for word in expected.split("|"))
    assert "bad.json" in text
    assert "Traceback" not in text
    if "two parts" in expected:
        assert repr(doubled) in text


def test_a_zarr_folder_is_a_screen_and_changes_with_what_is_in_it(bench: Bench, tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the next release writes
        anndata.read_h5ad(bench.folder / "screen.h5ad").write_zarr(tmp_path / "screen.zarr")
    asked = ["data", "check", "screen.zarr", "--store", "store"]  # one of its own: what it was made of changes
    said = pertharness(*asked, cwd=tmp_path).stdout
    of_h5ad = pertharness(
        "data", "check", bench.folder / "screen.h5ad", "--store", bench.folder / "store", cwd=tmp_path
    )
    assert "zarr folder" in said
    without_file = [[line for line in text.splitlines() if "  file  " not in line] for text in (said, of_h5ad.stdout)]
    assert without_file[0] == without_file[1]
    shutil.rmtree(tmp_path / "screen.zarr" / "X")
    assert "it has no X" in pertharness(*asked, cwd=tmp_path, status=1).stderr


# --- predictions made elsewhere


def score(bench: Bench, tmp_path: Path, predictions: anndata.AnnData, *more: str, status: int = 0) -> pd.DataFrame:
    predictions.write_h5ad(tmp_path / "p.h5ad")
    asked = ["score", "p.h5ad", "--data", bench.folder / "screen.h5ad", "--split", bench.folder / "split.json"]
    asked += ["--name", "mine", "--scorers", "l2", "--models", "additive,mean", "--store", bench.folder / "store"]
    pertharness(*asked, *more, "--out", "run", cwd=tmp_path, status=status)
    board = pd.read_csv(tmp_path / "run" / "leaderboard.csv")
    return board.query("variant == 'default' and stratum == 'all'").set_index("model")


def refused(bench: Bench, tmp_path: Path, predictions: anndata.AnnData) -> str:
    """Score predictions that cannot be used; return what stands on the standard error."""
    predictions.write_h5ad(tmp_path / "p.h5ad")
    asked = ["score", "p.h5ad", "--data", bench.folder / "screen.h5ad", "--split", bench.folder / "split.json"]
    asked += ["--name", "mine", "--scorers", "l2", "--models", "additive,mean", "--store", bench.folder / "store"]
    said = pertharness(*asked, "--out", "run", cwd=tmp_path, status=2).stderr
    assert not (tmp_path / "run").exists()
    return said


def held_out(bench: Bench) -> anndata.AnnData:
    """The observed means of what is held out, as predictions in a file of someone who knows nothing of our form."""
    truth = bench.truth
    rows = truth[truth.obs["perturbation"].isin(bench.split["test"])]
    obs = pd.DataFrame({"perturbation": rows.obs["perturbation"].astype(str).to_numpy()}, index=rows.obs_names)
    return anndata.AnnData(X=np.asarray(rows.X), obs=obs, var=pd.DataFrame(index=rows.var_names))


def test_the_truth_as_prediction_has_distance_zero_and_wins(bench: Bench, tmp_path: Path) -> None:
    board = score(bench, tmp_path, held_out(bench))
    assert board.loc["mine", "value"] == pytest.approx(0, abs=1e-9)
    assert board.loc["mine", ["plugin", "rank", "state"]].tolist() == ["file", 1, "done"]
    assert board.loc["additive", "rank"] == 2


def test_changes_from_the_control_are_refused_until_they_are_said_to_be(bench: Bench, tmp_path: Path) -> None:
    given, truth = held_out(bench), bench.truth
    change = np.asarray(given.X) - np.asarray(truth[truth.obs["perturbation"] == "control"].X)
    given.X = change / 20  # those of this screen are as large as the means
    assert "--prediction-kind change" in refused(bench, tmp_path, given)
    board = score(bench, tmp_path, given, "--prediction-kind", "change")
    expected = np.linalg.norm(change * 19 / 20, axis=1).mean()  # what is left of the change
    assert board.loc["mine", "value"] == pytest.approx(expected, rel=1e-6)


def test_genes_and_targets_may_come_in_any_order(bench: Bench, tmp_path: Path) -> None:
    given = held_out(bench)[:, np.random.default_rng(1).permutation(40)].copy()
    given.obs["perturbation"] = ["+".join(reversed(label.split("+"))) for label in given.obs["perturbation"]]
    given.X = sparse.csr_matrix(given.X)
    board = score(bench, tmp_path, given)
    assert board.loc["mine", "value"] == pytest.approx(0, abs=1e-9)
    assert board.loc["mine", "rank"] == 1


def test_a_missing_query_is_counted_and_not_filled(bench: Bench, tmp_path: Path) -> None:
    expected = len(bench.split["test"])
    assert expected == 3
    board = score(bench, tmp_path, held_out(bench)[1:].copy())
    assert board.loc["mine", ["scored", "expected"]].tolist() == [expected - 1, expected]
    assert np.isnan(board.loc["mine", "rank"])
    scores = pd.read_csv(tmp_path / "run" / "scores.csv.gz").query("model == 'mine' and variant == 'default'")
    missing = scores[scores["value"].isna()]
    assert missing["state"].tolist() == ["unanswered"]


def test_predictions_that_cannot_be_used_end_the_command(bench: Bench, tmp_path: Path) -> None:
    given = held_out(bench)
    given.var_names = ["G00"] * 40
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the names
        assert "'G00' comes more than once" in refused(bench, tmp_path, given)


def test_several_rows_of_a_perturbation_are_averaged(bench: Bench, tmp_path: Path) -> None:
    given = held_out(bench)
    apart = anndata.concat([given, given], index_unique="-")
    apart.X = np.asarray(apart.X) + np.repeat([[0.25], [-0.25]], given.n_obs, axis=0)
    board = score(bench, tmp_path, apart)
    assert board.loc["mine", "value"] == pytest.approx(0, abs=1e-9)


def test_predictions_may_not_take_the_name_of_a_model(bench: Bench, tmp_path: Path) -> None:
    held_out(bench).write_h5ad(tmp_path / "p.h5ad")
    asked = ["score", "p.h5ad", "--data", bench.folder / "screen.h5ad", "--split", bench.folder / "split.json"]
    said = pertharness(*asked, "--name", "mean", "--store", bench.folder / "store", cwd=tmp_path, status=2)
    assert "'mean'" in said.stderr


# --- looking around


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
    assert "there is no store" in said.stderr
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
    assert ("give more of it" if key == "" else f"starts with {key!r}; a run's manifest.json") in said.stderr


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("datasets", {"demo", "h5ad", "norman", "adamson", "replogle_k562", "replogle_rpe1"}),
        ("models", {"no_change", "additive", "mean", "linear"}),
        ("scorers", {"l2", "pearson", "pearson_delta"}),
        ("embeddings", {"pca", "transfer", "table", "spectral"}),
    ],
)
def test_list_names_what_is_installed(what: str, names: set[str], bench: Bench, tmp_path: Path) -> None:
    said = pertharness("list", what, "--store", bench.folder / "store", cwd=tmp_path).stdout
    assert names <= {line.split()[0] for line in said.splitlines()}


def test_list_shows_parameters_with_types_defaults_and_help_when_asked(bench: Bench, tmp_path: Path) -> None:
    def listed(what: str, *options: str) -> list[str]:
        return pertharness("list", what, *options, "--store", bench.folder / "store", cwd=tmp_path).stdout.splitlines()

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
    assert "What keeps models from the truth" in words


# --- verifying, and the store


@pytest.fixture
def copied(bench: Bench, tmp_path: Path) -> Bench:
    shutil.copytree(bench.folder, tmp_path / "bench")
    return Bench(tmp_path / "bench")


def test_verify_finds_nothing_in_a_run_as_it_was_written_nor_in_its_store(bench: Bench, tmp_path: Path) -> None:
    pertharness("verify", "screen", cwd=bench.folder)
    for arguments in (
        (bench.folder / "runs" / "screen",),
        (bench.folder / "store",),
        ("--store", bench.folder / "store"),
    ):
        done = pertharness("verify", *arguments, cwd=tmp_path)
        assert done.stdout.startswith("all is as it was recorded: ")
        assert done.stderr == ""


def test_verify_names_what_was_changed_behind_anyone_s_back(copied: Bench) -> None:
    run, store = copied.folder / "runs" / "screen", copied.folder / "store"
    (key,) = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["datasets"].values()
    means = store / "datasets" / key / "pseudobulk.h5ad"
    with h5py.File(means, "r+") as file:
        values = file["X"] if isinstance(file["X"], h5py.Dataset) else file["X/data"]
        values[-1] += 1.0
    board = run / "leaderboard.csv"
    board.write_text(board.read_text(encoding="utf-8").replace("linear", "mine"), encoding="utf-8")
    lines = pertharness("verify", run, "--store", store, cwd=copied.folder, status=1).stdout.splitlines()
    assert lines[0].startswith(f"{board}: has changed")
    assert lines[1].startswith(f"datasets/{key}/pseudobulk.h5ad: has changed")
    assert lines[2].startswith("2 differences; looked at ")
    assert len(lines) == 3


def test_prune_keeps_a_run_whole_and_takes_the_rest(copied: Bench) -> None:
    store, run = copied.folder / "store", copied.folder / "runs" / "screen"
    asked = ("run", "--data", "screen.h5ad", "--split", "split.json", "--store", "store")
    other = ("--task", "double", "--seeds", "2", "--models", "additive", "--scorers", "l2", "--name", "other")
    pertharness("run", "--data", "screen.h5ad", *other, "--store", "store", cwd=copied.folder)
    before = pertharness("store", "size", "--store", store, cwd=copied.folder).stdout
    foreseen = pertharness("store", "prune", "--keep", run, "--dry-run", "--store", store, cwd=copied.folder).stdout
    assert pertharness("store", "size", "--store", store, cwd=copied.folder).stdout == before
    done = pertharness("store", "prune", "--keep", run, "--store", store, cwd=copied.folder).stdout
    assert done == foreseen.replace("would remove", "removed")
    assert "predictions" in done
    assert pertharness("verify", run, "--store", store, cwd=copied.folder).stdout.startswith("all is")
    assert "; 0 of them done now" in pertharness(*asked, cwd=copied.folder).stdout
    again = pertharness("store", "prune", "--keep", "screen", "--store", store, cwd=copied.folder).stdout
    assert again.startswith("removed 0 entries")
    lines = pertharness("verify", "runs/other", cwd=copied.folder, status=1).stdout.splitlines()
    assert any("is not in the store, and the run was made with it" in line for line in lines)


def test_prune_refuses_to_keep_a_run_of_another_store(bench: Bench, tmp_path: Path) -> None:
    Store.open(tmp_path / "empty")
    said = pertharness("store", "prune", "--keep", bench.folder / "runs", "--store", "empty", cwd=tmp_path, status=1)
    assert "holds no record of the run" in said.stderr


def test_prune_beside_a_run_in_progress_takes_nothing_from_it(bench: Bench, tmp_path: Path) -> None:
    shutil.copy(bench.folder / "screen.h5ad", tmp_path)
    command = [PERTHARNESS, "run", "--data", "screen.h5ad", "--seeds", "1", "--scorers", "l2", "--store", "store"]
    opened, tried = Store.open(tmp_path / "store"), 0
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        while run.poll() is None:
            prune(opened, [], 0.0, dry_run=False)
            tried += 1
            time.sleep(0.1)
        said = run.stdout.read() if run.stdout else ""
    assert run.returncode == 0, said
    assert tried > 3
    assert "failed" not in said and "crashed" not in said
    assert (tmp_path / "runs" / "screen" / "leaderboard.csv").exists()
    prune(opened, [], 0.0, dry_run=False)
    assert not list(opened.root.glob("predictions/*"))


# --- data


def test_data_list_and_info_say_where_data_come_from(bench: Bench, tmp_path: Path) -> None:
    env = {"PERTHARNESS_STORE": str(bench.folder / "store"), "PERTHARNESS_DATA": str(tmp_path / "data")}
    said = pertharness("data", "list", cwd=tmp_path, **env).stdout
    assert {"demo", "norman", "adamson", "replogle_k562", "replogle_rpe1"} <= {x.split()[0] for x in said.splitlines()}
    assert "not fetched" in said
    info = pertharness("data", "info", "norman", cwd=tmp_path, **env).stdout
    assert "https://figshare.com/ndownloader/files/44477939" in info
    assert "Norman" in info


def relabelled(old: str, new: str) -> anndata.AnnData:
    adata = screen()
    adata.obs["condition"] = adata.obs["condition"].str.replace(old, new, regex=False)
    return adata


def of_values(change: Any) -> anndata.AnnData:
    adata = screen()
    adata.X = change(adata.X)
    return adata


def with_layer(adata: anndata.AnnData) -> anndata.AnnData:
    adata.layers["lognorm"] = screen().X
    return adata


def with_nan(values: np.ndarray) -> np.ndarray:
    values[3, 5] = np.nan
    return values


BAD = {
    "no control": (lambda: screen()[1:8].copy(), "--control-label"),
    "one perturbation": (lambda: screen()[:2].copy(), "at least 2"),
    "raw counts": (lambda: of_values(lambda x: np.round(np.expm1(x))), "--normalise"),
    "z-scores": (lambda: with_layer(of_values(lambda x: (x - x.mean(0)) / x.std(0))), "--layer"),
    "not finite": (lambda: of_values(with_nan), "'G05'"),
    "duplicate genes": (lambda: screen(var_names=["G00", *GENES[:39]]), "more than once"),
    "empty": (lambda: screen()[:0].copy(), "empty"),
    "colliding labels": (lambda: relabelled("G01+ctrl", "G01+G00"), "--merge-labels"),
    "texts for numbers": ("texts", "convert"),
    "other HDF5": ("hdf5", "HDF5 of another kind"),
    "cut short": ("cut", "cannot be read as h5ad"),
    "no bytes": ("nothing", "(0 bytes)"),
}  # fmt: skip


def write_bad(made: Any, path: Path) -> None:
    if callable(made):
        made().write_h5ad(path)
    elif made == "hdf5":
        with h5py.File(path, "w") as file:
            file["something"] = [1, 2, 3]
    elif made == "texts":
        screen().write_h5ad(path)
        with h5py.File(path, "r+") as file:
            values = file["X"][()].astype(str).astype(object)
            del file["X"]
            file.create_dataset("X", data=values, dtype=h5py.string_dtype())
            file["X"].attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
    elif made == "cut":
        screen().write_h5ad(path)
        os.truncate(path, path.stat().st_size // 2)
    else:
        path.touch()


@pytest.fixture(scope="module")
def bad_run(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one run over all the bad files and a good one."""
    folder = tmp_path_factory.mktemp("bad")
    for case, (made, _) in BAD.items():
        write_bad(made, folder / f"{case.replace(' ', '_')}.h5ad")
    shutil.copy(bench.folder / "screen.h5ad", folder / "good.h5ad")
    files = [word for path in sorted(folder.iterdir()) for word in ("--data", path.name)]
    asked = ["--seeds", 1, "--task", "double", "--models", "mean", "--scorers", "l2", "--name", "all"]
    pertharness("run", *files, *asked, "--store", bench.folder / "store", cwd=folder, status=1)
    return folder


@pytest.mark.parametrize("case", BAD)
def test_data_that_cannot_be_used_fail_with_the_remedy(case: str, bad_run: Path) -> None:
    manifest = json.loads((bad_run / "runs" / "all" / "manifest.json").read_text(encoding="utf-8"))
    name = case.replace(" ", "_")
    record = manifest["records"][manifest["datasets"][name]]
    assert record["state"] == "failed"
    assert BAD[case][1] in record["message"]
    assert name in record["message"]
    assert "Error" not in record["message"]  # it is said in words, not by the class of an exception


def test_bad_data_are_on_the_leaderboard_and_stop_no_other(bad_run: Path) -> None:
    board = pd.read_csv(bad_run / "runs" / "all" / "leaderboard.csv")
    states = board.groupby("dataset")["state"].unique().map(list).to_dict()
    assert states == {case.replace(" ", "_"): ["failed"] for case in BAD} | {"good": ["done"]}


@pytest.mark.parametrize("case", ["no control", "other HDF5"])
def test_data_check_refuses_with_the_remedy(case: str, bad_run: Path, bench: Bench) -> None:
    file = f"{case.replace(' ', '_')}.h5ad"
    said = pertharness("data", "check", file, "--store", bench.folder / "store", cwd=bad_run, status=1)
    assert BAD[case][1] in said.stderr
    assert said.stdout == ""


@pytest.mark.parametrize("file", ["absent.h5ad", "runs", "good.h5ad/x.h5ad"])
def test_data_that_are_not_there_are_a_mistake_in_the_options(file: str, bad_run: Path, bench: Bench) -> None:
    for command in (
        ["data", "check", file],
        ["run", "--data", file],
        ["split", file, "--kind", "double", "--out", "x"],
    ):
        said = pertharness(*command, "--store", bench.folder / "store", cwd=bad_run, status=2)
        assert "there is no file" in said.stderr


# --- surroundings


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"TERM": None, "HOME": None},
        {"TERM": "dumb", "COLUMNS": "1"},
        {"COLUMNS": "abc", "NO_COLOR": "1"},
    ],
    ids=str,
)
def test_a_run_works_in_poor_surroundings(env: dict[str, str | None], bench: Bench, tmp_path: Path) -> None:
    asked = ["run", "--data", bench.folder / "screen.h5ad", "--split", bench.folder / "split.json"]
    said = pertharness(*asked, "--store", bench.folder / "store", "--out", "run", cwd=tmp_path, **env)
    assert "0 of them done now" in said.stdout.replace("\n", " ")
    board = bench.folder / "runs" / "screen" / "leaderboard.csv"
    assert (tmp_path / "run" / "leaderboard.csv").read_bytes() == board.read_bytes()


def test_a_reader_that_stops_reading_sees_no_error(bench: Bench, tmp_path: Path) -> None:
    command = f"{PERTHARNESS} list models --store {bench.folder / 'store'} | head -n 1"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.startswith("additive")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["screen.h5ad"], "run --all --data screen.h5ad"),
        (["--data", "demo"], "[datasets.demo]"),
        (["--data", "."], "is a folder"),
        (["--data", "x.h5ad", "--split", "s.json", "--seeds", "1"], "leave out --seeds"),
    ],
)
def test_what_was_meant_is_told(asked: list[str], words: str, tmp_path: Path) -> None:
    said = pertharness("run", *asked, "--store", tmp_path / "store", cwd=tmp_path, status=2)
    assert words in said.stderr
