"""A run and a store of an older version: what it left can be read, and a new run is told what to do.

``older_run`` holds what ``pertharness run --data screen.h5ad --task double --seeds 1 --models no_change,linear
--scorers l2`` left with the last version whose stores had format 1; of its store the records of predictions and scores.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import anndata
import pytest
from pertharness.contract.errors import StoreError
from pertharness.host.store.records import Store

OLDER = Path(__file__).parent / "older_run"
PERTHARNESS = str(Path(sys.executable).with_name("pertharness"))


@pytest.fixture
def older(tmp_path: Path) -> Path:
    shutil.copytree(OLDER, tmp_path / "runs")
    return tmp_path / "runs"


def pertharness(*arguments: object, cwd: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [PERTHARNESS, *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
        env={**os.environ, "PERTHARNESS_STORE": str(cwd / "none")},
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done


def test_what_an_older_version_left_can_be_read(older: Path, tmp_path: Path) -> None:
    assert "no_change" in pertharness("list", "runs", "--folder", older, cwd=tmp_path).stdout
    assert "gene_coverage" in pertharness("tables", older / "run", cwd=tmp_path).stdout
    store = ("--store", older / "store")
    said = pertharness("export", older / "run", "out", *store, cwd=tmp_path).stdout
    assert "1 prediction written" in said
    assert anndata.read_h5ad(next((tmp_path / "out").glob("*.h5ad"))).n_vars == 8
    (key,) = [path.name for path in (older / "store" / "predictions").iterdir()]
    assert "no_change" in pertharness("show", key[:10], *store, cwd=tmp_path).stdout
    said = pertharness("verify", older / "store", cwd=tmp_path).stdout
    assert "no differences; checked 2 records, 3 files" in said
    assert "predictions" in pertharness("store", "size", *store, cwd=tmp_path).stdout
    assert not (tmp_path / "none").exists()


def test_a_run_names_an_older_store_with_what_to_do(older: Path, tmp_path: Path) -> None:
    said = pertharness("run", "--all", "--dry-run", "--store", older / "store", cwd=tmp_path, status=1).stderr
    assert f"the store '{older / 'store'}' was made by an older version of pertharness" in said
    assert "--store" in said and "delete" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"format": 3}', "newer version of pertharness.*update it"),
        ('{"form', "store.json' is damaged.*delete th(is|at) file"),
        ("", "store.json' is damaged.*delete th(is|at) file"),
        ('["format"]', "store.json' is damaged"),
        ("\xff\x00", "store.json' is damaged"),
    ],
)
def test_a_store_of_another_kind_is_named_with_what_to_do(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text(text, encoding="latin-1")
    (tmp_path / "cards" / "a-record").mkdir(parents=True)  # without any, a damaged marker is made anew
    for opened in (Store.open, Store.existing):
        with pytest.raises(StoreError, match=words):
            opened(tmp_path)


def test_a_store_whose_damaged_marker_was_deleted_goes_on(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    (tmp_path / "store.json").write_text("x", encoding="utf-8")
    (tmp_path / "store.json").unlink()
    assert Store.open(tmp_path) == store
    assert json.loads((tmp_path / "store.json").read_text(encoding="utf-8"))["format"] == 2


def test_reading_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store at"):
        Store.existing(tmp_path / "none")
    assert not (tmp_path / "none").exists()
