"""Calibration end to end: positions worked out again from the records, on simulated cells and on a real screen."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

SHARED = Path(os.environ.get("PERTHARNESS_SHARED") or Path(__file__).parents[2] / "shared")
WESSELS = SHARED / "data" / "wessels2023_thp1_pseudobulk.h5ad"
PERTHARNESS = shutil.which("pertharness", path=str(Path(sys.executable).parent)) or "pertharness is not installed"
DUPLICATE = "technical_duplicate"
N_TOP = 1000
TABLE = ["metric", "variant", "stratum"]


@dataclass(frozen=True)
class Run:
    folder: Path
    board: pd.DataFrame
    half: pd.DataFrame

    def of(self, model: str, metric: str = "l2", task: str = "double", stratum: str = "all") -> pd.Series:
        """Return a row of the leaderboard."""
        usual = (self.board["variant"] == "default") & (self.board["stratum"] == stratum)
        board = self.board[usual & (self.board["task"] == task)].set_index(["model", "metric"])
        row: pd.Series = board.loc[(model, metric)]
        return row

    def halves(self) -> anndata.AnnData:
        """Return the record of the halves."""
        (path,) = (self.folder / "store" / "halves").glob("*/halves.h5ad")
        return anndata.read_h5ad(path)


def command(folder: Path, *words: str) -> None:
    done = subprocess.run([PERTHARNESS, "run", *words, "--store", "store"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def read(folder: Path, name: str = "run") -> Run:
    board = pd.read_csv(folder / name / "leaderboard.csv").fillna({"set": "", "verdict": "", "range": ""})
    return Run(folder, board, pd.read_csv(folder / name / "scores_half.csv.gz"))


MODELS = ("--models", "no_change,additive,mean", "--scorers", "l2,pearson_delta,interactions,calibration")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("calibration")
    command(folder, "--all", "--seeds", "1-2", *MODELS, "--calibrate", "--out", "run")
    return read(folder)


def test_additive_deviates_from_nothing_against_the_half_too(demo: Run) -> None:
    areas = demo.half[(demo.half["metric"] == "auprc") & (demo.half["variant"] == "default")].set_index("model")[
        "value"
    ]
    assert areas.loc[["additive"]].isna().all()
    assert areas.loc[["mean", "no_change", DUPLICATE]].notna().all()
    # Without a value of the reference there is no zero to measure positions from.
    assert (demo.of("mean", "auprc")["range"], demo.of("additive", "auprc")["range"]) == ("", "")
    assert np.isnan(demo.of("mean", "auprc")["position"])


def panel_of(y0: np.ndarray) -> np.ndarray:
    return np.argsort(-y0, kind="stable")[:N_TOP]


def test_position_is_what_the_records_say(demo: Run) -> None:
    halves = demo.halves()
    (means,) = (demo.folder / "store" / "datasets").glob("*/pseudobulk.h5ad")
    pseudobulk = anndata.read_h5ad(means)
    y0 = pseudobulk["control"].X[0]
    panel = panel_of(y0)
    a, b = (halves.to_df(layer)[halves.var_names[panel]] for layer in ("half_a", "half_b"))
    whole = pseudobulk.to_df()[halves.var_names[panel]]
    errors: dict[str, list[float]] = {"additive": [], "no_change": [], DUPLICATE: []}
    manifest = json.loads((demo.folder / "run" / "manifest.json").read_text(encoding="utf-8"))
    for key in {attempt["split"] for attempt in manifest["attempts"] if attempt["task"] == "double"}:
        split = json.loads((demo.folder / "store" / "splits" / key / "split.json").read_text(encoding="utf-8"))
        for query in split["test"]:
            one, other = query.split("+")
            predicted = {
                "additive": whole.loc[one] + whole.loc[other] - whole.loc["control"],
                "no_change": whole.loc["control"],
                DUPLICATE: a.loc[query],
            }
            for model, values in predicted.items():
                errors[model].append(float(np.linalg.norm(values - b.loc[query])))
    additive, no_change, duplicate = (np.mean(errors[model]) for model in errors)
    assert demo.of("no_change")["position"] == pytest.approx((no_change - additive) / (duplicate - additive), rel=1e-6)
    assert demo.of(DUPLICATE)["value"] == pytest.approx(duplicate, rel=1e-9)
    assert demo.of("additive")["value_half"] == pytest.approx(additive, rel=1e-9)


def test_anchors_are_0_and_1_and_the_duplicate_is_no_model(demo: Run) -> None:
    assert (demo.of("additive")["position"], demo.of(DUPLICATE)["position"]) == (0, 1)
    row = demo.of(DUPLICATE)
    assert (row["plugin"], row["verdict"], row["set"], row["scored"]) == ("pertharness", "", "half", row["expected"])
    assert pd.isna(row["rank"])
    assert set(demo.half["model"]) == {"no_change", "additive", "mean", DUPLICATE}
    manifest = json.loads((demo.folder / "run" / "manifest.json").read_text(encoding="utf-8"))
    assert [one["plugin"] for one in manifest["attempts"] if one["model"] == DUPLICATE] == ["pertharness"] * 4
    assert "position" in (demo.folder / "run" / "leaderboard.md").read_text(encoding="utf-8")


def test_cell_equivalents_lie_below_the_cells_that_were_measured_and_follow_the_errors(demo: Run) -> None:
    halves = demo.halves()
    worth = {model: demo.of(model, "cell_equivalents")["value"] for model in ("additive", "mean", "no_change")}
    assert worth["additive"] > worth["mean"] > worth["no_change"] > 0
    assert worth["additive"] < halves.obs["n_cells"].drop("control").max() * 3
    noise = pd.read_csv(demo.folder / "run" / "tables" / "noise.csv")
    assert len(noise) == 2 * halves.n_obs  # once per task
    row = noise.set_index("perturbation").loc["control"].iloc[0]
    (means,) = (demo.folder / "store" / "datasets").glob("*/pseudobulk.h5ad")
    panel = panel_of(anndata.read_h5ad(means)["control"].X[0])
    expected = halves["control"].layers["variance"][0, panel].sum() / halves.obs.loc["control", "n_cells"]
    assert row["noise_floor"] == pytest.approx(expected)


def test_a_run_without_calibration_differs_in_nothing_else(demo: Run) -> None:
    folder = demo.folder
    command(folder, "--all", "--seeds", "1-2", *MODELS[:3], "l2,pearson_delta,interactions", "--out", "plain")
    assert not (folder / "plain" / "scores_half.csv.gz").exists()
    plain, with_positions = (pd.read_csv(folder / name / "leaderboard.csv", dtype=str) for name in ("plain", "run"))
    kept = with_positions[with_positions["model"] != DUPLICATE]
    kept = kept[kept["metric"] != "cell_equivalents"].drop(columns=["position", "value_half", "range"])
    by = ["task", *TABLE, "model"]
    left, right = (x[kept.columns].sort_values(by, ignore_index=True) for x in (plain, kept))
    greyed = with_positions[with_positions["range"] == "no"]
    ranked = ~pd.MultiIndex.from_frame(right[by[:-1]]).isin(pd.MultiIndex.from_frame(greyed[by[:-1]]))
    pd.testing.assert_frame_equal(left[ranked], right[ranked])
    others = [name for name in kept.columns if "rank" not in name and name != "note"]
    pd.testing.assert_frame_equal(left[others], right[others])
    assert (folder / "plain" / "scores.csv.gz").stat().st_size > 0


def test_calibrating_again_gives_the_same_bytes(demo: Run) -> None:
    names = ("leaderboard.csv", "scores_half.csv.gz")
    before = [(demo.folder / "run" / name).read_bytes() for name in names]
    command(demo.folder, "run/recipe.toml", "--out", "again")
    assert [(demo.folder / "again" / name).read_bytes() for name in names] == before


@pytest.mark.reference
@pytest.mark.skipif(not WESSELS.exists(), reason=f"no {WESSELS}; name the folder in PERTHARNESS_SHARED")
def test_halves_of_a_real_screen_make_the_duplicates_row(tmp_path: Path) -> None:
    command(
        tmp_path, "--all", "--data", str(WESSELS), "--task", "double", "--seeds", "1-2", *MODELS, "--calibrate",
        "--out", "run",
    )  # fmt: skip
    run = read(tmp_path)
    screen = anndata.read_h5ad(WESSELS)
    doubles = ~np.isnan(screen.layers["half_a"]).any(axis=1) & ~np.isnan(screen.layers["half_b"]).any(axis=1)
    halves = run.halves()
    assert (~np.isnan(halves.layers["half_a"]).any(axis=1)).sum() == doubles.sum()
    duplicate, additive = run.of(DUPLICATE), run.of("additive")
    assert duplicate["scored"] == duplicate["expected"] > 0
    # Independently: the distance of the file's own layers over the panel, averaged over what the two splits hold out.
    y0 = screen.to_df().loc[[str(x) in ("ctrl", "control") for x in screen.obs.iloc[:, 0]]].to_numpy()
    scored = run.half.query("model == @DUPLICATE and metric == 'l2' and variant == 'default'")
    a, b = (halves.to_df(layer).loc[scored["perturbation"]].to_numpy() for layer in ("half_a", "half_b"))
    if len(y0) == 1:
        panel = panel_of(y0[0])
        assert scored["value"].to_numpy() == pytest.approx(np.linalg.norm((a - b)[:, panel], axis=1))
    assert duplicate["value"] == pytest.approx(scored["value"].mean())
    assert duplicate["range"] == ("yes" if duplicate["value_half"] < additive["value_half"] else "no")
    if duplicate["range"] == "yes":
        assert (additive["position"], duplicate["position"]) == (0, 1)
        assert run.of("no_change")["position"] < 0
