"""Mistakes in options, recipes, splits and data files: what a command says of each, and its exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from command_bench import Bench, pertharness

MISTAKES = {
    "no command": (["rnu"], "did you mean 'run'?"),
    "unknown option": (["run", "--al"], "--all"),
    "unknown model": (["run", "--all", "--models", "liner"], "'liner'; did you mean 'linear'?"),
    "unknown plugin of a model": (["run", "--all", "--models", "basel/mean"], "'basel/mean'; did you mean 'mean'?"),
    "unknown scorer": (["run", "--all", "--scorers", "pearson_dleta"], "did you mean 'pearson_delta'?"),
    "unknown parameter": (["run", "--all", "--models", "linear[rigde=1]"], "did you mean 'ridge'?"),
    "unknown slot": (["run", "--all", "--models", "mean[G=random]"], "has no slot 'G'"),
    "open bracket": (["run", "--all", "--models", "linear[k=4"], "bracket"),
    "no model": (["run", "--all", "--models", ""], "expected NAME"),
    "model twice": (["run", "--all", "--models", "mean,mean"], "duplicate value 'mean'"),
    "scorer twice": (["run", "--all", "--scorers", "l2,l2"], "duplicate value 'l2'"),
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
    assert "bug in pertharness" not in said


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
