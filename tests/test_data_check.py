"""``pertharness data check``: a page or JSON on standard output, errors as a run has them, nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

PERTHARNESS = Path(sys.executable).with_name("pertharness")
SINGLES = [f"G{i:02}" for i in range(8)]
GENES = [f"G{i:02}" for i in range(40)]


def call(*arguments: object, cwd: Path, status: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """Call the command and check its exit status."""
    surroundings = {**os.environ, "PERTHARNESS_STORE": str(cwd / "store"), "COLUMNS": "100", **env}
    command = [PERTHARNESS, "data", "check", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=surroundings)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def write_screen(path: Path, n_cells: int = 20, total: float = 1e4, **columns: Any) -> None:
    """Write a screen of cells: control, 8 singles, 6 doubles of these, and a multiplet, `n_cells` of each."""
    doubles = [f"{SINGLES[i]}+{SINGLES[i + 1]}" for i in range(6)]
    labels = ["ctrl", *SINGLES, *doubles, "multiplet"] * n_cells
    counts = np.random.default_rng(0).poisson(5.0, (len(labels), len(GENES))) + 1.0
    values = np.log1p(counts / counts.sum(axis=1, keepdims=True) * total).astype(np.float32)
    obs = pd.DataFrame({"condition": labels, **columns}, index=[f"c{i}" for i in range(len(labels))])
    anndata.AnnData(values, obs=obs, var=pd.DataFrame(index=GENES)).write_h5ad(path)


def test_a_file_is_read_on_a_page_and_nothing_is_left_behind(tmp_path: Path) -> None:
    write_screen(tmp_path / "screen.h5ad")
    done = call("screen.h5ad", "--modality", "crispri", cwd=tmp_path)
    said = " ".join(done.stdout.split())
    for words in (
        "320 cells x 40 genes",
        "obs['condition']: 14 perturbations (8 singles, 6 doubles) and the control",
        "'ctrl' (20 cells)",
        "'+' joins the targets of a label",
        "targets: 8 of 8 are genes of the file",
        "X taken as log1p of counts per 10 000",
        "left out: 20 rows labelled 'multiplet': no perturbation",
        # 6 doubles: 3 train; of the other 3 one is test, two are val
        "double 1 of 6 doubles held out for the test in each of 5 splits",
        "additive can answer 6 of 6 doubles",
        "8 different ones in all",
        "median 20 per perturbation (20 to 20); 20 control cells",
    ):
        assert words in said
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) <= 45
    assert [path.name for path in tmp_path.iterdir()] == ["screen.h5ad"]


def test_json_holds_the_same_and_nothing_else_is_printed(tmp_path: Path) -> None:
    write_screen(tmp_path / "screen.h5ad")
    done = call("screen.h5ad", "--json", cwd=tmp_path)
    facts = json.loads(done.stdout)
    assert facts["format"] == 1
    assert (facts["n_obs"], facts["n_used"], facts["n_genes"]) == (320, 300, 40)
    assert facts["n_by_targets"] == {"1": 8, "2": 6}
    assert facts["labels"]["controls"] == [{"label": "ctrl", "n_rows": 20}]
    assert facts["tasks"]["double"]["n_test"] == [1, 1]
    assert facts["tasks"]["single"]["n_held_out"] == 8
    assert facts["scale"]["n_judged"] == facts["scale"]["n_rows"] == 300
    page = call("screen.h5ad", cwd=tmp_path).stdout
    for text in (*facts["missing"], *facts["changes"]):
        assert text in " ".join(page.split())


@pytest.mark.parametrize(
    ("columns", "total", "status", "flag"),
    [({}, 3000.0, 1, "--rescale"), ({"target": ["ctrl", "G01"] * 160}, 1e4, 2, "--label-column")],
)
def test_an_error_is_that_of_a_run_and_comes_after_what_was_understood(
    columns: dict[str, Any], total: float, status: int, flag: str, tmp_path: Path
) -> None:
    write_screen(tmp_path / "screen.h5ad", total=total, **columns)
    checked = call("screen.h5ad", cwd=tmp_path, status=status)
    assert checked.stdout == ""
    assert "320 " in checked.stderr.splitlines()[3]
    assert ("What was understood" in checked.stderr) == (not columns)
    message = checked.stderr[checked.stderr.index("error: ") :]
    assert flag in message
    asked = [PERTHARNESS, "split", "screen.h5ad", "--kind", "double", "--out", "x.json", "--store", "store"]
    loaded = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True)
    assert (loaded.returncode, loaded.stderr) == (status, message)
    as_json = call("screen.h5ad", "--json", cwd=tmp_path, status=status)
    assert (as_json.stdout, as_json.stderr) == ("", message)


def test_a_dataset_on_offer_has_the_same_page_once_it_is_loaded(tmp_path: Path) -> None:
    done = call("demo", cwd=tmp_path)
    said = " ".join(done.stdout.split())
    assert "1 500 genes" in said
    assert "120 perturbations (60 singles, 60 doubles) and the control" in said
    assert "targets: 60 of 60 are genes of the file" in said
    assert "15 of 60 doubles held out" in said  # 30 train, 15 val
    assert "300 control cells" in said
    facts = json.loads(call("demo", "--json", cwd=tmp_path).stdout)
    assert facts["cells"]["control"] == 300
    assert facts["modality"] == "crispra"
    assert (tmp_path / "store" / "datasets").is_dir()


def test_a_file_that_must_not_be_read_or_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "cut.h5ad").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)
    assert "cannot be read as h5ad" in call("cut.h5ad", cwd=tmp_path, status=1).stderr
    assert "there is no file" in call("absent.h5ad", cwd=tmp_path, status=2).stderr
    assert "there is no file and no dataset 'dmo'; did you mean 'demo'?" in call("dmo", cwd=tmp_path, status=2).stderr
