"""The screens of the reference folder, as a user has them: no flag, one command, a leaderboard."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

SHARED = Path(os.environ.get("PERTHARNESS_SHARED") or Path(__file__).parents[2] / "shared")
SCREENS = sorted((SHARED / "data").glob("*.h5ad"))
PERTHARNESS = shutil.which("pertharness", path=str(Path(sys.executable).parent)) or "pertharness is not installed"
USUAL = "metric == 'l2' and variant == 'default' and stratum == 'all'"

pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(not SCREENS, reason=f"no screens in {SHARED / 'data'}; name the folder in PERTHARNESS_SHARED"),
]


@dataclass(frozen=True)
class Run:
    folder: Path
    manifest: dict[str, dict[str, str]]
    board: pd.DataFrame


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run over all screens, three split seeds; it fails where a screen needs a flag."""
    folder = tmp_path_factory.mktemp("real")
    files = [word for path in SCREENS for word in ("--data", str(path))]
    command = [PERTHARNESS, "run", *files, "--seeds", "1-3", "--store", "store", "--out", "run"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads((folder / "run" / "manifest.json").read_text(encoding="utf-8"))
    return Run(folder, manifest, pd.read_csv(folder / "run" / "leaderboard.csv").query(USUAL))


@pytest.mark.parametrize("path", SCREENS, ids=lambda path: path.stem)
def test_a_screen_makes_a_leaderboard_with_no_flag(path: Path, run: Run) -> None:
    board = run.board[run.board["dataset"] == path.stem]
    assert set(board["task"]) == {"double", "single"}
    assert (board["expected"] > 0).all()
    for _, rows in board.groupby("task"):
        best = rows[rows["rank"] == 1]
        assert len(best) == 1
        assert (best["low"] <= best["value"]).all()
        assert (best["value"] <= best["high"]).all()
    # These two predict whatever is asked; the others need the singles or the genes of what is held out.
    whole = board[board["model"].isin(["no_change", "mean"])]
    assert len(whole) == 4
    assert (whole["scored"] == whole["expected"]).all()
    assert whole["rank"].notna().all()


@pytest.mark.parametrize("path", SCREENS, ids=lambda path: path.stem)
def test_additive_beats_no_change_on_doubles(path: Path, run: Run) -> None:
    here = (run.board["dataset"] == path.stem) & (run.board["task"] == "double")
    board = run.board[here].set_index("model")
    assert board.loc["additive", "value"] < board.loc["no_change", "value"]
    assert board.loc["additive", "rank"] < board.loc["no_change", "rank"]
    assert board.loc["no_change", "reference"] == "additive"
    assert board.loc["no_change", "difference"] > 0  # on the doubles that both predicted


def test_every_score_is_there_or_says_why_not(run: Run) -> None:
    scores = pd.read_csv(run.folder / "run" / "scores.csv.gz", keep_default_na=False)
    assert set(scores["state"]) <= {"done", "skipped", "unanswered", "undefined"}
    assert ((scores["value"] != "") == (scores["state"] == "done")).all()
    # Of single perturbations only the correlation of no change at all has no value; of whole splits, whatever a model
    # that deviates from nothing, or answers nothing, is not scored for.
    undefined = scores[(scores["state"] == "undefined") & (scores["perturbation"] != "")]
    assert set(undefined["model"]) == {"no_change"}
    assert set(undefined["metric"]) == {"pearson_delta"}
    of_splits = scores[(scores["state"] == "undefined") & (scores["perturbation"] == "")]
    assert set(of_splits["model"]) <= {"additive", "linear"}
    assert not {"additive", "mean", "no_change"} & set(of_splits.loc[of_splits["task"] == "single", "model"])


def test_what_was_found_in_a_screen_is_said(run: Run) -> None:
    for name, key in run.manifest["datasets"].items():
        status = json.loads((run.folder / "store" / "datasets" / key / "status.json").read_text(encoding="utf-8"))
        notes = "\n".join(status["notes"])
        assert "labels: " in notes, name
        assert "scale: " in notes, name
