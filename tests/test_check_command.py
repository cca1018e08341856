"""``pertharness check`` on a plugin that asks for much: what it is given by name, and what is printed."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pandas as pd
import pytest
from pertharness.testing import planted_cells
from pertharness.testing.planted import GENES

FOLDER = Path(__file__).parent / "demanding"


class Place:
    """An environment with the plugin, and the files that it asks for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(root / "venv")], check=True)
        [packages] = (root / "venv" / "lib").glob("python*/site-packages")
        (packages / "parent.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
        for name in ("demanding.py", "demanding_helper.py"):
            shutil.copyfile(FOLDER / name, packages / name)
        self.plugin = packages / "demanding.py"
        pd.DataFrame(0.25, index=list(GENES), columns=["x", "y"]).to_csv(root / "genes.csv")
        (root / "terms").write_text("terms")
        planted_cells().write_h5ad(root / "screen.h5ad")

    def check(self, *arguments: str, data: str = "data") -> tuple[dict[str, str], list[str], int]:
        """Return the command's lines by check, all its lines, and its exit status."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        env |= {"PERTHARNESS_STORE": str(self.root / "store"), "PERTHARNESS_DATA": str(self.root / data)}
        command = [self.root / "venv" / "bin" / "python", "-c", "from pertharness.host.cli import main; main()"]
        done = subprocess.run(
            [*command, "check", "demanding", *arguments], cwd=self.root, env=env, capture_output=True, text=True
        )
        lines = (done.stdout + done.stderr).splitlines()
        return {line.split()[1].rstrip(":"): line for line in lines if line[:1] in "osF"}, lines, done.returncode


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("check"))


def test_nothing_is_skipped_once_all_is_named(place: Place) -> None:
    by_name = ["--file", "terms.csv=terms", "--file", "e=genes.csv", "--file", "d=screen.h5ad"]
    by_check, lines, code = place.check("--param", "k=7", "--slot", "G=genes.csv", *by_name)
    others = {name: line for name, line in by_check.items() if not line.startswith("ok")}
    assert others.keys() == {"card-imports", "m-single-saved_model"}, lines
    assert "belongs to no distribution" in others["card-imports"]
    assert len(by_check) == 30
    assert code == 0


def test_what_was_fetched_is_used_and_a_skip_is_one_line(place: Place) -> None:
    (place.root / "fetched" / "d").mkdir(parents=True)
    shutil.copyfile(place.root / "screen.h5ad", place.root / "fetched" / "d" / "d.h5ad")
    by_check, _, code = place.check("--slot", "m.G=genes.csv", data="fetched")
    assert by_check["d-file"].startswith("ok ")
    assert by_check["e-gene-table"] == "skipped  e-gene-table: it takes a file: name one with --file e=PATH"
    assert by_check["m-single-answers"].startswith("skipped  m-single-answers: needs the file 'terms.csv': ")
    assert code == 0


def test_a_failure_shows_the_authors_own_lines_alone_and_a_damaged_source_is_said(place: Place) -> None:
    (place.root / "damaged" / "d").mkdir(parents=True)
    (place.root / "damaged" / "d" / "d.h5ad").write_text("no HDF5")
    by_check, lines, code = place.check("--file", "terms.csv=terms", data="damaged")
    assert "is not a .h5ad file" in by_check["d-canonical"]
    assert by_check["d-canonical"].startswith("skipped  d-canonical: ")
    at = lines.index("FAILED   m-single-answers")
    below = [line.strip() for line in lines[at + 1 : at + 6]]
    assert below[0] == "ValueError: 'nothing' is not in list"
    number = 1 + place.plugin.read_text().splitlines().index('        helper.call(lambda: [].index("nothing"))')
    assert [line for line in below if line.startswith("File")] == [
        f'File "{place.plugin}", line {number}, in {function}' for function in ("fit", "<lambda>")
    ]
    assert not [line for line in lines if "demanding_helper" in line or "pluggy" in line or "stages.py" in line]
    assert code == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--param", "depth=3"], "--param depth: no offer has it; expected one of m.k, m.words"),
        (["--param", "k"], "--param 'k' is not NAME=VALUE; expected e.g. --param epochs=3"),
        (["--slot", "G=none.csv"], "--slot G: 'none.csv' does not exist; expected a file"),
        (["--file", "a=terms", "--file", "a=genes.csv"], "duplicate --file 'a'"),
    ],
)
def test_what_fits_no_offer_is_a_usage_error(place: Place, arguments: list[str], words: str) -> None:
    _, lines, code = place.check(*arguments)
    assert code == 2
    assert [line for line in lines if words in line] == lines
