"""A stranger's plugin, from nothing to the leaderboard: new, install, check, its own tests, run."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from itertools import pairwise
from pathlib import Path

import pytest
from pertharness.data.canonical import write
from pertharness.testing import planted_cells
from pertharness_scorers import describe

ROOT = Path(__file__).parents[1]
FILE_BLOCK = re.compile(r"^```\w+\n# (\S+/?\S*\.\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
UNRULY = """
import os, time
from pertharness import Card, ModelOffer, hookimpl
OFFERS = tuple(ModelOffer(name=n, summary="s", tasks=("single",), input="pseudobulk", information="training")
    for n in ("dies", "hangs"))

@hookimpl
def describe(): return Card(models=OFFERS)

@hookimpl
def fit(name):
    os._exit(3) if name == "dies" else time.sleep(600)

@hookimpl
def predict(model): pass
"""


class Place:
    """A fresh environment that sees this one's packages, and a store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.python = root / "venv" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(root / "venv")], check=True)
        [self.packages] = (root / "venv" / "lib").glob("python*/site-packages")
        # Not a plain path: the packages that are installed here for editing are found by .pth files of their own.
        parent = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
        (self.packages / "parent.pth").write_text(parent)

    def call(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        env["PERTHARNESS_STORE"] = str(self.root / "store")
        return subprocess.run(
            [str(self.python), *arguments], cwd=cwd or self.root, env=env, capture_output=True, text=True
        )

    def pertharness(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.call("-c", "from pertharness.host.cli import main; main()", *arguments)

    def install(self, folder: Path) -> None:
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        if not importlib.util.find_spec("hatchling"):
            pytest.skip("hatchling, which builds the plugins, is not installed here")
        if importlib.util.find_spec("pip"):
            done = self.call("-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", str(folder))
        elif not uv:
            pytest.skip("neither pip nor uv is here to install a plugin with")
        else:
            target = ["--python", str(self.python), "--no-deps", "--no-build-isolation", "--offline"]
            done = subprocess.run([uv, "pip", "install", *target, str(folder)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def run(self) -> subprocess.CompletedProcess[str]:
        done = self.pertharness("run", "--all", "--data", "planted.h5ad", "--seeds", "1", "--out", "run")
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def records(self) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (self.root / "store").glob("*/*/status.json")}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("third party"))


def test_a_new_plugin_is_on_the_next_leaderboard_and_nothing_else_is_done_again(place: Place) -> None:
    write(planted_cells(), place.root / "planted.h5ad")
    place.run()
    before = place.records()
    assert place.pertharness("new", "stranger").returncode == 0
    folder = place.root / "pertharness-stranger"
    place.install(folder)
    checked = place.pertharness("check", "stranger")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "ok       stranger-double-shuffled_cells" in checked.stdout
    own = place.call("-m", "pytest", "-q", cwd=folder)
    assert own.returncode == 0, own.stdout
    place.run()
    assert "stranger" in (place.root / "run" / "leaderboard.csv").read_text(encoding="utf-8")
    after = place.records()
    assert {path: after[path] for path in before} == before
    made = sorted(path.parts[-3] for path in set(after) - set(before))
    asked = [task for one in describe().scorers if not one.calibrates for task in one.tasks if task != "transfer"]
    assert made == [*["predictions"] * 2, *["scores"] * len(asked)]  # two tasks, each scorer that is for them


def test_the_plugin_of_the_tutorial_passes_at_the_first_try(place: Place) -> None:
    text = (ROOT / "docs" / "plugins" / "tutorial.md").read_text(encoding="utf-8")
    folder = place.root / "tutorial"
    for name, body in FILE_BLOCK.findall(text):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(body, encoding="utf-8")
    assert len((folder / "src" / "pertharness_known_effects" / "__init__.py").read_text().splitlines()) <= 50
    place.install(folder)
    checked = place.pertharness("check", "known_effects", "--verbose")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    skipped = [line.split()[1] for line in checked.stdout.splitlines() if line.startswith("skipped")]
    assert skipped == [f"known_effects-{task}-saved_model:" for task in ("double", "single")]  # hooks it needs not have
    assert "ok       known_effects-single-gene_order" in checked.stdout
    own = place.call("-m", "pytest", "-q", cwd=folder)
    assert own.returncode == 0, own.stdout


def test_a_plugin_that_dies_or_hangs_fails_the_check_it_was_in(place: Place) -> None:
    (place.packages / "unruly.py").write_text(UNRULY)
    # On a busy machine a low limit may end a check before it comes to the hook of the plugin.
    for limit in (5, 25, 125):
        done = place.pertharness("check", "unruly", "--timeout", str(limit))
        if done.stdout.count(f"not finished after {limit} s") == 1:
            break
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    below = {line.split()[1]: after.strip() for line, after in pairwise(lines) if line.startswith("FAILED")}
    assert lines[0] == "ok       card-describe"
    assert "the worker ended with exit status 3" in below["dies-single-answers"]
    assert f"not finished after {limit} s" in below["hangs-single-answers"]
    assert "skipped  hangs-single-scale: not tried, because 'hangs-single-answers' did not pass" in lines
    assert not list((place.root / "store").glob("checks"))


def test_a_name_that_is_no_plugin_is_a_usage_error_with_a_hint(place: Place) -> None:
    done = place.pertharness("check", "baselnes")
    assert done.returncode == 2
    assert "did you mean 'baselines'?" in done.stderr
