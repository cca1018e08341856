"""`pertharness reproduce` with the demo, from an empty store: both recipes run, and every published number is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import pandas as pd
import pytest

PERTHARNESS = shutil.which("pertharness", path=str(Path(sys.executable).parent)) or "pertharness is not installed"
RUNS = {"double": "ahlmann-eltze-2025-double-demo", "single": "ahlmann-eltze-2025-single-demo"}
DEEP = {"double": ["gears", "scgpt", "scfoundation", "cpa", "geneformer", "uce", "scbert"],
        "single": ["gears", "scgpt", "uce", "scbert", "geneformer"]}  # fmt: skip


def pertharness(*arguments: object, cwd: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Call the command in a folder without published files, and check its exit status and that it says no traceback."""
    env = {**os.environ, "PERTHARNESS_DATA": str(cwd / "published")}
    done = subprocess.run([PERTHARNESS, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, env=env)
    assert done.returncode == status, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert "Traceback" not in done.stdout + done.stderr
    return done


@dataclass(frozen=True)
class Reproduced:
    """Both runs of a call, and what it said."""

    folder: Path
    said: str

    def leaderboard(self, short: str) -> pd.DataFrame:
        table = pd.read_csv(self.folder / "runs" / RUNS[short] / "leaderboard.csv", keep_default_na=False)
        return table.assign(label=[f"{m}[{p}]" if p else m for m, p in zip(table.model, table.params, strict=True)])

    def numbers(self, short: str) -> pd.DataFrame:
        return pd.read_csv(self.folder / "runs" / RUNS[short] / "reproduction.csv").set_index("id")


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Reproduced:
    folder = tmp_path_factory.mktemp("reproduced")
    call = ("reproduce", "ahlmann-eltze-2025", "--demo", "--seeds", "1", "--store", "store")
    return Reproduced(folder, pertharness(*call, cwd=folder).stdout)


@pytest.mark.parametrize("short", list(RUNS))
def test_models_that_are_not_installed_are_skipped_and_shown(short: str, reproduced: Reproduced) -> None:
    table = reproduced.leaderboard(short).query("metric == 'l2' and stratum == 'all' and variant == 'default'")
    states = table.groupby("label")["state"].agg(set)
    absent = set(DEEP[short]) - set(entry_points(group="pertharness").names)
    assert [name for name in absent if states[name] != {"skipped"}] == []
    assert states["no_change"] == states["mean"] == {"done"}


def test_the_singles_name_the_models_that_the_article_leaves_out(reproduced: Reproduced) -> None:
    table = reproduced.leaderboard("single").set_index("label")
    for name in ("cpa", "scfoundation"):
        assert set(table.loc[name, "state"]) == {"skipped"}
        assert table.loc[name, "note"].str.contains("left out: in the article on").any()


def test_an_embedding_that_nobody_offers_skips_its_model_alone(reproduced: Reproduced) -> None:
    table = reproduced.leaderboard("single").query("metric == 'l2' and stratum == 'all' and variant == 'default'")
    states = table.groupby("label")["state"].agg(set)
    assert states["linear"] == {"done"}
    assert states["linear[G=embed:scgpt]"] == {"skipped"}


def test_an_embedding_from_the_other_screen_is_one_of_another_screen(reproduced: Reproduced) -> None:
    table = reproduced.leaderboard("single").query("metric == 'l2' and stratum == 'all' and variant == 'default'")
    states = table.set_index(["label", "dataset"])["state"]
    transfer = "linear[P=transfer:replogle_k562]"
    assert states[transfer, "adamson"] == states[transfer, "replogle_rpe1"] == "done"
    assert states[transfer, "replogle_k562"] == "skipped"  # it would hold what is to be predicted


def test_what_the_demo_gives_is_measured(reproduced: Reproduced) -> None:
    numbers = reproduced.numbers("double")
    # The demo has 60 doubles of 60 singles; half of the doubles are held out.
    wanted = {"norman-singles": 60, "norman-doubles": 60, "norman-splits": 1, "norman-held-out": 30,
              "norman-entries": 60_000}  # fmt: skip
    assert numbers.loc[list(wanted), "measured"].to_dict() == wanted
    measured = numbers["measured"]
    assert measured["norman-lower"] < 0 < measured["norman-upper"]
    assert 0 < measured["norman-null-p0"] <= 1.2
    shares = measured[["norman-buffering", "norman-synergistic"]]
    assert ((shares >= 0) & (shares < 10)).all()
    assert (numbers["difference"] - (numbers["measured"] - numbers["published"])).abs().max() < 1e-12


def test_no_number_is_blank_without_a_reason(reproduced: Reproduced) -> None:
    for short in RUNS:
        numbers = reproduced.numbers(short)
        assert (numbers["measured"].notna() ^ numbers["reason"].notna()).all()
        assert set(numbers.loc[numbers["measured"].isna(), "agrees"]) <= {"not measured"}
    assert "not measured: adamson held_out_common" in reproduced.said
    assert "DEMO, simulated data in place of the article's" in reproduced.said
    assert "Source Data, point by point: not compared: none of 41592_2025_2772_MOESM3_ESM.xlsx" in reproduced.said


def test_chosen_models_run_with_other_parameters_beside_the_reference(reproduced: Reproduced) -> None:
    chosen = "no_change,linear[k=3],linear[G=embed:scgpt]"
    call = ("reproduce", "ahlmann-eltze-2025", "--demo", "--seeds", "1", "--models", chosen, "--store", "store")
    said = pertharness(*call, "--out", "chosen", cwd=reproduced.folder).stdout
    labels = {}
    for short, run in RUNS.items():
        board = pd.read_csv(reproduced.folder / "chosen" / run / "leaderboard.csv", keep_default_na=False)
        labels[short] = {f"{m}[{p}]" for m, p in zip(board["model"], board["params"], strict=True)}
    assert labels["double"] == {"no_change[]", "additive[]"}
    assert labels["single"] == {
        "no_change[]", "mean[]", "linear[k=3]", "linear[G=embed:scgpt]", "linear[G=embed:scfoundation, k=3]",
        "linear[P=embed:go, k=3]", "linear[P=transfer:replogle_k562, k=3]", "linear[P=transfer:replogle_rpe1, k=3]",
        "cpa[]", "scfoundation[]",  # left out
    }  # fmt: skip
    assert "needs answers of gears, scgpt, uce, scbert, geneformer, linear" in said
    assert f"published beside measured, models {chosen}" in said


def test_source_data_are_compared_point_by_point(reproduced: Reproduced) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="the optional extra 'reproduce' is not installed")
    scores = pd.read_csv(reproduced.folder / "runs" / RUNS["double"] / "scores.csv.gz", keep_default_na=False)
    mine = scores.query("metric == 'l2' and variant == 'default' and model == 'additive'")
    book = openpyxl.Workbook()
    book.active.append(["method", "perturbation", "seed", "dist"])
    for row in mine.itertuples():
        book.active.append(["additive_model", row.perturbation, row.seed, float(row.value) + 0.25])
    (reproduced.folder / "article").mkdir()
    book.save(reproduced.folder / "article" / "41592_2025_2772_MOESM3_ESM.xlsx")
    call = ("reproduce", "ahlmann-eltze-2025", "--demo", "--seeds", "1", "--only", "double", "--store", "store")
    said = pertharness(*call, "--source-data", "article", cwd=reproduced.folder).stdout
    assert "l2: 30 of 30 values matched; differences: largest 0.25, median 0.25" in said
    assert (reproduced.folder / "runs" / RUNS["double"] / "source_data.csv").is_file()


def test_mistakes_are_usage_errors(tmp_path: Path) -> None:
    for wrong, said in {
        "ahlmann-eltze-2024": "did you mean 'ahlmann-eltze-2025'?",
        "ahlmann-eltze-2025 --only doubles": "did you mean 'double'?",
        "ahlmann-eltze-2025 --demo --seeds 5-1": "expected a range upwards",
        "ahlmann-eltze-2025 --demo --models gaers": "the benchmark has no such model; did you mean 'gears'?",
        "ahlmann-eltze-2025 --demo --source-data nowhere": "41592_2025_2772_MOESM3_ESM.xlsx",
    }.items():
        assert said in pertharness("reproduce", *wrong.split(), cwd=tmp_path, status=2).stderr
    assert "--demo is for a recipe" in pertharness("run", "--all", "--demo", cwd=tmp_path, status=2).stderr
