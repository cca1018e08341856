"""From a screen with awkward labels to its leaderboard: what was understood and left out is said on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

PERTHARNESS = Path(sys.executable).with_name("pertharness")
SINGLES = ("KLF1", "CEBPE", "SPI1", "AHR", "FOXA1", "TBX3")
GENES = (*SINGLES, *(f"GENE{i}" for i in range(34)))


def pertharness(*arguments: object, cwd: Path, status: int = 0) -> str:
    """Call the command, check its exit status, and return all that it printed."""
    env = {**os.environ, "PERTHARNESS_STORE": str(cwd / "store")}
    done = subprocess.run([PERTHARNESS, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, env=env)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def write_screen(path: Path, labels: list[str], var: pd.DataFrame | None = None) -> None:
    """Write means of 40 genes, log1p CP10k; a label may stand in several rows, which then are cells."""
    rng = np.random.default_rng(3)
    rates = np.exp(rng.normal(4, 1, len(GENES)) + rng.normal(0, 0.3, (len(labels), len(GENES))))
    obs = pd.DataFrame({"perturbation": labels}, index=[f"row{i}" for i in range(len(labels))])
    values = np.log1p(1e4 * rates / rates.sum(axis=1, keepdims=True))
    anndata.AnnData(values, obs=obs, var=pd.DataFrame(index=GENES) if var is None else var).write_h5ad(path)


def test_a_run_says_what_it_understood_and_left_out(tmp_path: Path) -> None:
    guides = [f"{gene}-{k}" for gene in SINGLES for k in (1, 2)]
    labels = ["NTC_1", "NTC_2", "multiplet", *guides, *guides, "KLF1-1+AHR-1+SPI1-1", "ABSENT-1"]
    write_screen(tmp_path / "odd.h5ad", labels)
    asked = ["--data", "odd.h5ad", "--task", "single", "--seeds", 1, "--models", "mean", "--scorers", "l2"]
    said = pertharness("run", *asked, "--guides", "separate", cwd=tmp_path)
    board = (tmp_path / "runs" / "odd" / "leaderboard.md").read_text(encoding="utf-8")
    manifest = json.loads((tmp_path / "runs" / "odd" / "manifest.json").read_text(encoding="utf-8"))
    for words in (
        "left out: 1 rows labelled 'multiplet': no perturbation",
        "left out: 1 perturbations of three or more targets",
        "targets: 6 of 7 are genes of the file (not: 'ABSENT-1')",
    ):
        assert f"odd: {words}" in " ".join(said.split())
        assert words in board
        assert any(words in note for note in manifest["dataset_notes"]["odd"])
    scores = pd.read_csv(tmp_path / "runs" / "odd" / "scores.csv.gz").pivot(
        index="perturbation", columns="variant", values="value"
    )
    assert (scores["no-targets"] < scores["default"]).drop("ABSENT-1", errors="ignore").all()  # the gene, not the guide
    (split,) = [key for key, record in manifest["records"].items() if record["stage"] == "splits"]
    parts = json.loads((tmp_path / "store" / "splits" / split / "split.json").read_text(encoding="utf-8"))
    sides = [{name.split("-")[0] for name in parts[part]} for part in ("train", "val", "test")]
    assert all(sides)
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


def test_a_draft_is_corrected_and_given_back(tmp_path: Path) -> None:
    write_screen(tmp_path / "odd.h5ad", ["wild", *(f"{gene} (line 4)" for gene in SINGLES), "+/-"])
    assert "no control" in pertharness("data", "check", "odd.h5ad", cwd=tmp_path, status=1)
    pertharness("data", "labels", "odd.h5ad", "--out", "map.csv", cwd=tmp_path)
    draft = pd.read_csv(tmp_path / "map.csv", dtype=str)
    draft["targets"] = draft["targets"].str.removesuffix(" (line 4)").replace({"wild": "control"})
    draft.loc[draft["label"] == "+/-", "targets"] = "drop"
    draft.to_csv(tmp_path / "map.csv", index=False)
    said = pertharness("data", "check", "odd.h5ad", "--label-map", "map.csv", cwd=tmp_path)
    assert "targets: 6 of 6 are genes of the file" in said
    assert "left out: 1 rows labelled '+/-': dropped by the label map" in said
    absent = pertharness("data", "check", "odd.h5ad", "--label-map", "absent.csv", cwd=tmp_path, status=2)
    assert "the label map" in absent
    assert "cannot be read" in absent


@pytest.mark.parametrize("command", [["data", "check", "odd.h5ad"], ["run", "--data", "odd.h5ad", "--models", "mean"]])
def test_a_choice_that_a_file_leaves_is_a_usage_error(command: list[str], tmp_path: Path) -> None:
    ids = [f"ENSG{i:011d}" for i in range(len(GENES))]
    var = pd.DataFrame({"gene_id": ids, "other_id": [*ids[1:], ids[0]]}, index=list(GENES))
    write_screen(tmp_path / "odd.h5ad", ["NT", *ids[:6]], var)
    assert "--target-column" in pertharness(*command, cwd=tmp_path, status=2)


def test_controls_are_repeated_on_the_command_line(tmp_path: Path) -> None:
    write_screen(tmp_path / "odd.h5ad", ["wild", "plate 1", "plate 2", *SINGLES, "plate 2"])
    said = pertharness(
        "data", "check", "odd.h5ad", "--control-label", "wild", "--control-label", "plate*", cwd=tmp_path
    )
    assert "'plate 2' (2 cells), 'wild' (1 cell), 'plate 1' (1 cell); 4 cells in all, pooled" in " ".join(said.split())


def test_what_is_left_out_is_one_list_and_doubles_without_singles_are_said_first(tmp_path: Path) -> None:
    """AHR and TBX3 are never perturbed alone: of five doubles, additive can answer the three without them."""
    singles = ["KLF1", "CEBPE", "SPI1", "FOXA1", "GENE1"]
    doubles = ["CEBPE+KLF1", "FOXA1+SPI1", "AHR+KLF1", "CEBPE+TBX3"]
    labels = [*["ctrl", *singles, *doubles, "AHR+KLF1+SPI1"] * 3, "nan", "FOXA1+KLF1"]
    write_screen(tmp_path / "gaps.h5ad", labels)
    asked = ["--data", "gaps.h5ad", "--task", "single", "--seeds", 1, "--models", "mean", "--scorers", "l2"]
    output = pertharness("run", *asked, "-v", cwd=tmp_path)
    doubles_line = "doubles: 2 of 5 lack one of their singles ('AHR+KLF1', 'CEBPE+TBX3')"
    assert output.rindex(doubles_line) < output.rindex("split gaps single seed 1")  # the progress, after the tables
    assert "'additive' can answer 3 of 5 at most" in " ".join(output.split())
    assert doubles_line in pertharness("run", *asked, cwd=tmp_path).partition("jobs:")[0]  # from the store, too
    manifest = json.loads((tmp_path / "runs" / "gaps" / "manifest.json").read_text(encoding="utf-8"))
    rows, larger, few, dropped = manifest["left_out"]["gaps"]
    assert rows == "1 rows labelled 'nan': no perturbation"
    assert larger.startswith("1 perturbations of three or more targets ('AHR+KLF1+SPI1')")
    assert few.startswith("1 perturbations of one cell ('FOXA1+KLF1')")
    assert dropped.startswith("5 perturbations (")
    assert "are in no part of task 'single', in its split: more than one target" in dropped
    board = (tmp_path / "runs" / "gaps" / "leaderboard.md").read_text(encoding="utf-8")
    for line in (doubles_line, *(f"left out: {line}"[:60] for line in manifest["left_out"]["gaps"])):
        assert f"gaps: {line}" in board
