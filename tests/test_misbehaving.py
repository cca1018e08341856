"""Plugins with one fault each, all installed at once: each fault is told, and costs nobody else anything."""

import ast
import csv
import json
import math
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import psutil
import pytest

FOLDER = Path(__file__).parent / "misbehaving"
BASE = "misbehaving_base"
FAULTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != BASE)
SCORERS = {"raises_in_score", "mutates_screen"}
DATASETS = ("raises_in_load", "mutates_params")
EMBEDDINGS = ("raises_in_embed", "mutates_labels")
NOT_MODELS = {*SCORERS, *DATASETS, *EMBEDDINGS}
SMALL = "{ n_genes = 100, n_singles = 8, n_doubles = 8, n_controls = 60, n_cells = 10 }"
RECIPE = f"""
seeds = [1]
[datasets.demo]
params = {SMALL}
[[tasks]]
dataset = "demo"
split = {{ kind = "double" }}
score_on = ["test", "val"]
[resources]
jobs = 2
timeout_s = 300
memory_mb = 600
"""
BAD_DATASETS = "".join(
    f'[datasets.{name}]\n[[tasks]]\ndataset = "{name}"\nsplit = {{ kind = "double" }}\n' for name in DATASETS
)


def expected(fault: str) -> tuple[str, tuple[str, ...]]:
    """Return what a plugin says of its own end, without importing it."""
    tree = ast.parse((FOLDER / f"{fault}.py").read_text())
    said = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    return said["STATE"], said["SAYS"]


def install(packages: Path, name: str, entry: str) -> None:
    """Install a plugin of one module as pip would leave it."""
    shutil.copyfile(FOLDER / f"{entry}.py", packages / f"misbehaving_{name}.py")
    info = packages / f"misbehaving_{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: misbehaving-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[pertharness]\n{entry} = misbehaving_{name}\n")


class Place:
    """An environment with the misbehaving plugins, or without."""

    def __init__(self, root: Path, faults: list[str]) -> None:
        self.root = root
        root.mkdir()
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(root / "venv")], check=True)
        [packages] = (root / "venv" / "lib").glob("python*/site-packages")
        (packages / "parent.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
        shutil.copyfile(FOLDER / f"{BASE}.py", packages / f"{BASE}.py")
        for fault in faults:
            install(packages, fault, fault)
        if "same_name" in faults:
            install(packages, "same_name_again", "same_name")

    def run(self, recipe: str, *options: str) -> subprocess.CompletedProcess[str]:
        (self.root / "recipe.toml").write_text(recipe)
        env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        command = [self.root / "venv" / "bin" / "python", "-c", "from pertharness.host.cli import main; main()"]
        return subprocess.run(
            [*command, "run", "recipe.toml", "--out", "run", "--store", "store", *options], cwd=self.root, env=env,
            capture_output=True, text=True,
        )  # fmt: skip

    def leaderboard(self) -> list[dict[str, str]]:
        with (self.root / "run" / "leaderboard.csv").open(newline="") as file:
            return [row for row in csv.DictReader(file) if row["metric"] == "l2" and row["stratum"] == "all"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The run without the misbehaving plugins."""
    place = Place(tmp_path_factory.mktemp("good") / "place", [])
    done = place.run(RECIPE)
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture(scope="module")
def recipe(alone: Place) -> str:
    """The recipe with a limit that only a job that hangs reaches, on a machine as busy as this one is now."""
    with (alone.root / "run" / "costs.csv").open(newline="") as file:
        longest = max(float(row["wall_s"]) for row in csv.DictReader(file) if row["phase"] == "job")
    return RECIPE.replace("timeout_s = 300", f"timeout_s = {math.ceil(8 + 8 * longest)}")


@pytest.fixture(scope="module")
def misbehaved(recipe: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, subprocess.CompletedProcess[str]]:
    place = Place(tmp_path_factory.mktemp("bad") / "place", FAULTS)
    return place, place.run(recipe.replace("[[tasks]]", f"{BAD_DATASETS}[[tasks]]"))


def test_a_run_among_faults_ends_with_1_and_no_traceback_of_ours(
    misbehaved: tuple[Place, subprocess.CompletedProcess[str]],
) -> None:
    _, done = misbehaved
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in NOT_MODELS])
def test_each_fault_is_on_the_leaderboard_with_its_state_and_cause(
    fault: str, misbehaved: tuple[Place, subprocess.CompletedProcess[str]]
) -> None:
    state, says = expected(fault)
    [row] = {
        row["note"]: row
        for row in misbehaved[0].leaderboard()
        if row["model"] == fault and row["dataset"] == "demo" and row["variant"] == "default"
    }.values()
    assert row["state"] == state
    for words in says:
        assert words in row["note"]
    assert (row["scored"] == row["expected"]) == (state == "done")


def test_all_others_are_scored_as_if_the_faults_were_not_there(
    misbehaved: tuple[Place, subprocess.CompletedProcess[str]], alone: Place
) -> None:
    columns = ("variant", "model", "value", "low", "high", "scored", "expected", "state")

    def scored(place: Place) -> list[tuple[str, ...]]:
        rows = [row for row in place.leaderboard() if row["plugin"] == "baselines" and row["dataset"] == "demo"]
        return sorted(tuple(row[column] for column in columns) for row in rows)

    assert scored(misbehaved[0]) == scored(alone)
    assert any(row[2] for row in scored(alone))


@pytest.mark.parametrize("fault", [*sorted(SCORERS), *DATASETS])
def test_a_scorer_and_a_dataset_that_fail_are_told(
    fault: str, misbehaved: tuple[Place, subprocess.CompletedProcess[str]]
) -> None:
    place, _ = misbehaved
    manifest = json.loads((place.root / "run" / "manifest.json").read_text())
    state, says = expected(fault)
    told = [
        record
        for record in manifest["records"].values()
        if record["state"] == state and all(words in record["message"] for words in says)
    ]
    assert told


@pytest.mark.parametrize("fault", EMBEDDINGS)
def test_an_embedding_that_fails_takes_only_its_model_along(
    fault: str, recipe: str, misbehaved: tuple[Place, subprocess.CompletedProcess[str]]
) -> None:
    place, _ = misbehaved
    done = place.run(recipe, "--models", f"no_change,{fault}[G=embed:{fault}]", "--scorers", "l2")
    rows = {row["model"]: row for row in place.leaderboard()}
    state, says = expected(fault)
    assert done.returncode == 1
    assert rows["no_change"]["state"] == "done"
    assert rows[fault]["state"] == state
    for words in says:
        assert words in rows[fault]["note"]


def test_no_process_and_no_rubbish_stay(misbehaved: tuple[Place, subprocess.CompletedProcess[str]]) -> None:
    place, _ = misbehaved
    assert not [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "3603"]]
    assert not list((place.root / "store").rglob("rubbish*"))
    assert not list((place.root / "store" / "work").iterdir())
