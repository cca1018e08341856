"""Every shell block of the docs runs, in order, in a clean copy of the repository, as a reader would run it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "core" / "README.md", *sorted((ROOT / "plugins").glob("*/README.md")), *DOCS]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
# This very suite, run by the command that runs this test.
ELSEWHERE = ("pip install tox && tox\n",)


def blocks(page: Path) -> list[str]:
    return [text for text in BLOCK.findall(page.read_text(encoding="utf-8")) if text not in ELSEWHERE]


WITH_BLOCKS = [page for page in PAGES if blocks(page)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git tracks, with a screen and predictions such as a reader has."""
    folder = tmp_path_factory.mktemp("clone")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    subprocess.run([sys.executable, "-c", SCREEN, str(folder)], check=True)
    return folder


SCREEN = """
import sys
from pathlib import Path
import anndata, numpy as np
from pertharness.data.canonical import pseudobulk
from pertharness.datasets.demo import load_demo
adata = load_demo("demo", None, {})
means = pseudobulk(adata)
doubles = means[means.obs["perturbation"].astype(str).str.contains("+", regex=False)]
plain = lambda a, column: anndata.AnnData(X=a.X, obs=a.obs[[column]].astype(str).astype("category"), var=a.var[[]])
screen = plain(adata, "label_given")
screen.obs = screen.obs.rename(columns={"label_given": "condition"})
screen.write_h5ad(Path(sys.argv[1]) / "screen.h5ad")
plain(doubles, "perturbation").write_h5ad(Path(sys.argv[1]) / "predictions.h5ad")
"""


@pytest.mark.docs
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_shell_blocks_of_a_page_run(page: Path, clone: Path, tmp_path: Path) -> None:
    script = "set -euo pipefail\nset -x\n" + "\n".join(blocks(page))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PERTHARNESS_STORE": str(tmp_path / "store")}
    done = subprocess.run(["bash", "-c", script], cwd=clone, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-5000:]}"


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = [*DOCS, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
    assert [page.name for page in pages if page.relative_to(ROOT).as_posix() not in readme] == []
