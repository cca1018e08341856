"""What is run of a plugin is never what its sources were before, however soon and alike these were edited."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import anndata
import pytest
from pertharness.host.environments.built import find_environments
from pertharness.host.execution.checked_bytecode import compile_checked, compiled_path, is_current
from tiny_plugin import TINY_PLUGIN

if TYPE_CHECKING:
    from conftest import Shelf

FIRST, SECOND = "FACTOR = 0.2\n", "FACTOR = 0.8\n"
SCALED = TINY_PLUGIN.replace("import os, sys", "import edited_work").replace("mean = ", "mean = edited_work.FACTOR * ")
RECIPE = """
name = "r"
seeds = [1]
scorers = ["l2"]
models = ["tiny"]
datasets.demo.params = { n_genes = 60, n_singles = 6, n_doubles = 6, n_controls = 20, n_cells = 5 }

[[tasks]]
split = { kind = "double" }
"""


def edit(path: Path, text: str) -> None:
    """Write a text in place of one of the same size, within the same second."""
    facts = path.stat()
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert path.stat().st_size == facts.st_size


def imported(source: Path) -> str:
    """Return the text that a new interpreter finds in a module, as it would for a job."""
    code = f"import sys; sys.path.insert(0, {str(source.parent)!r}); import {source.stem}; print({source.stem}.FACTOR)"
    return subprocess.run([sys.executable, "-I", "-B", "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("mode", py_compile.PycInvalidationMode)
def test_whatever_lies_there_the_sources_are_what_is_run(mode: py_compile.PycInvalidationMode, tmp_path: Path) -> None:
    source = tmp_path / "pkgx" / "work.py"
    source.parent.mkdir()
    source.write_text(FIRST)
    py_compile.compile(str(source), str(compiled_path(source)), invalidation_mode=mode)
    edit(source, SECOND)
    compile_checked([source.parent])
    assert is_current(compiled_path(source), source.read_bytes())
    assert imported(source) == "0.8\n"
    edit(source, FIRST)
    assert imported(source) == "0.2\n"


def test_what_is_up_to_date_stays_and_what_is_not_is_made_anew(tmp_path: Path) -> None:
    names = ("kept", "edited", "broken", "linked")
    sources = {name: tmp_path / f"{name}.py" for name in names}
    for source in sources.values():
        source.write_text(FIRST)
    compile_checked([tmp_path])
    before = {name: compiled_path(source).stat().st_ino for name, source in sources.items()}
    edit(sources["edited"], SECOND)
    edit(sources["broken"], "FACTOR = = =\n")
    compiled_path(sources["linked"]).unlink()
    compiled_path(sources["linked"]).symlink_to(compiled_path(sources["kept"]))
    edit(sources["linked"], SECOND)
    compile_checked([tmp_path])
    assert compiled_path(sources["kept"]).stat().st_ino == before["kept"]
    assert compiled_path(sources["edited"]).stat().st_ino != before["edited"]
    assert not compiled_path(sources["broken"]).exists()
    assert not compiled_path(sources["linked"]).is_symlink()
    compile_checked([sources["kept"]], force=True)
    assert compiled_path(sources["kept"]).stat().st_ino != before["kept"]


def test_sources_in_folders_that_are_links_are_compiled_too(tmp_path: Path) -> None:
    for name in ("pkgx", "shared"):
        (tmp_path / name).mkdir()
    (tmp_path / "shared" / "work.py").write_text(FIRST)
    (tmp_path / "pkgx" / "inner").symlink_to(tmp_path / "shared")
    (tmp_path / "shared" / "loop").symlink_to(tmp_path / "pkgx")
    compile_checked([tmp_path / "pkgx"])
    assert compiled_path(tmp_path / "shared" / "work.py").is_file()


def test_a_folder_that_cannot_be_written_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(FIRST)
    (tmp_path / "__pycache__").write_text("a file in the way")
    compile_checked([tmp_path])
    assert (tmp_path / "__pycache__").read_text() == "a file in the way"


def installed_to_be_edited(python: Path, sources: Path) -> Path:
    """Install a plugin in an environment, its files elsewhere, and return the module that its numbers come from."""
    for name, text in {"edited/__init__.py": SCALED, "edited_work/__init__.py": FIRST}.items():
        (sources / name).parent.mkdir(parents=True)
        (sources / name).write_text(text)
    (site,) = python.parents[1].glob("lib/python3*/site-packages")
    (site / "edited.pth").write_text(f"{sources}\n")
    info = site / "edited-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edited\nVersion: 1.0\n")
    (info / "RECORD").write_text("edited.pth,,\nedited-1.0.dist-info/METADATA,,\n")
    (info / "direct_url.json").write_text('{"url": "file:///edited", "dir_info": {"editable": true}}')
    (info / "entry_points.txt").write_text("[pertharness]\nedited = edited\n")
    return sources / "edited_work" / "__init__.py"


@pytest.mark.parametrize("where", ["beside the harness", "in an interpreter of its own"])
def test_a_plugin_edited_within_a_second_gives_the_numbers_of_its_new_key(
    where: str, python_with: Callable[[str, str], Path], tmp_path: Path
) -> None:
    python = python_with("unused", "")
    work = installed_to_be_edited(python, tmp_path / "sources")
    of_its_own = where != "beside the harness"
    environments = f'[environments]\nedited = {{ python = "{python}" }}\n'
    (tmp_path / "r.toml").write_text(RECIPE + (environments if of_its_own else ""))
    harness = sys.executable if of_its_own else str(python)
    command = [harness, "-I", "-c", "from pertharness.host.cli import main; main()", "run", "r.toml", "--out", "out"]
    for _ in range(2):
        if of_its_own:  # whoever tries the plugin by hand leaves what Python compiles by itself
            subprocess.run([python, "-I", "-c", "import edited_work"], check=True)
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, **{f"PERTHARNESS_{name}": str(tmp_path / name) for name in ("STORE", "ENVS")}},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        edit(work, SECOND)
    found = [anndata.read_h5ad(path).X.sum() for path in (tmp_path / "STORE").glob("predictions/*/prediction.h5ad")]
    first, second = sorted(found)
    assert second == pytest.approx(4 * first)


def test_what_a_wheel_brings_compiled_is_not_what_is_run(shelf: Shelf) -> None:
    """Its hash is that of the source beside it, and its code is another's: no key would know of it."""
    text, other = shelf.text.encode(), shelf.root / "other.py"
    other.write_text("import os\n")
    code = Path(py_compile.compile(str(other), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH) or "")
    forged = code.read_bytes()[:8] + importlib.util.source_hash(text) + code.read_bytes()[16:]
    name = f"pertharness_tiny/__pycache__/__init__.{sys.implementation.cache_tag}.pyc"
    shelf.build(extra={name: forged})
    built, problems = find_environments(shelf.envs)
    assert problems == []
    (path,) = Path(built["tiny"].folder).glob(f"lib/python3*/site-packages/{name}")
    assert is_current(path, text)
    assert path.read_bytes() != forged
