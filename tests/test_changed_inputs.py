"""A file of a record that somebody rewrites: the next run notices, and no score that was made of it survives."""

import csv
import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from pertharness.files.whole import sha256_file
from pertharness.host.store.hashes import identity_of

PERTHARNESS = shutil.which("pertharness", path=str(Path(sys.executable).parent)) or "pertharness is not installed"
RECIPE = """
name = "small"
seeds = [1]
models = ["mean", "additive"]
scorers = ["l2"]
[datasets.demo]
params = { n_genes = 60, n_singles = 10, n_doubles = 10, n_controls = 30, n_cells = 6 }
[[tasks]]
split = { kind = "double" }
"""


def run(folder: Path) -> int:
    """Carry out the recipe, and return how many jobs were done now."""
    (folder / "small.toml").write_text(RECIPE, encoding="utf-8")
    command = [PERTHARNESS, "run", "small.toml", "--store", "store", "--out", "run", "--jobs", "2"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.split(" of them done now")[0].rsplit(maxsplit=1)[1])


def values(folder: Path) -> list[str]:
    with gzip.open(folder / "run" / "scores.csv.gz", "rt", encoding="utf-8") as file:
        return [row["value"] for row in csv.DictReader(file)]


def poison(path: Path) -> None:
    """Lower every value a little, as whoever may write there can."""
    path.chmod(0o644)
    with h5py.File(path, "r+") as file:
        values = file["X"]["data"] if isinstance(file["X"], h5py.Group) else file["X"]
        values[...] = values[:] * 0.9


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder)
    return folder


@pytest.mark.parametrize("pattern", ["datasets/*/pseudobulk.h5ad", "predictions/*/prediction.h5ad"])
def test_a_rewritten_file_is_made_again_and_no_number_changes(pattern: str, undisturbed: Path, tmp_path: Path) -> None:
    shutil.copytree(undisturbed / "store", tmp_path / "store")
    poison(min((tmp_path / "store").glob(pattern)))
    assert run(tmp_path) > 0
    assert values(tmp_path) == values(undisturbed)


def test_scores_of_a_poisoned_file_do_not_survive_its_repair(undisturbed: Path, tmp_path: Path) -> None:
    """Somebody rewrites the means and their sum in the record, and later puts both back."""
    shutil.copytree(undisturbed / "store", tmp_path / "store")
    [means] = (tmp_path / "store").glob("datasets/*/pseudobulk.h5ad")
    record, kept = means.parent, tmp_path / "kept"
    shutil.copytree(record, kept)
    poison(means)
    forge_sum(record, means)
    assert run(tmp_path) > 0  # its sums are not those that the scores read
    assert values(tmp_path) != values(undisturbed)
    shutil.rmtree(record)
    shutil.copytree(kept, record)
    assert run(tmp_path) > 0
    assert values(tmp_path) == values(undisturbed)
    assert run(tmp_path) == 0


def forge_sum(record: Path, file: Path) -> None:
    path = record / "status.json"
    status = json.loads(path.read_text(encoding="utf-8"))
    status["artefacts"][file.name] |= {"sha256": sha256_file(file), "identity": identity_of(file.stat())}
    path.chmod(0o644)
    path.write_text(json.dumps(status), encoding="utf-8")
