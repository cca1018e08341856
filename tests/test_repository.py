"""What people look for in a repository: pages of the package index, versions of tools, the files of contributors."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from pertharness.host.cli import cli

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
DISTRIBUTIONS = [ROOT / "core", *sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
each_distribution = pytest.mark.parametrize("folder", DISTRIBUTIONS, ids=lambda folder: folder.name)


def project(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return data


@each_distribution
def test_a_readme_stands_alone_on_the_package_index(folder: Path) -> None:
    text = (folder / project(folder)["readme"]).read_text(encoding="utf-8")
    assert text.startswith(f"# {project(folder)['name']}\n")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert [name for name in ("Install", "Example", "Citation", "Licence") if name not in headings] == []
    # There is no other file of the repository beside it.
    assert [link for link in LINK.findall(text) if not link.startswith(("https://", "#"))] == []


@each_distribution
def test_the_python_of_a_readme_runs(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        subprocess.run([sys.executable, "-c", block], check=True)


@each_distribution
def test_a_distribution_has_addresses_and_one_version(folder: Path) -> None:
    metadata = project(folder)
    assert metadata["urls"]
    assert all(url.startswith("https://") for url in metadata["urls"].values())
    sources = [*folder.glob("src/**/*.py"), folder / "pyproject.toml"]
    pattern = re.compile(r"^(?:__version__|version) = \"\d", re.MULTILINE)
    assert len([path for path in sources if pattern.search(path.read_text(encoding="utf-8"))]) == 1


def test_commands_of_the_pages_exist() -> None:
    """Their arguments are tried where the blocks run; here their names, of plugins too that need an environment."""
    pages = [folder / "README.md" for folder in DISTRIBUTIONS] + [ROOT / "CONTRIBUTING.md", ROOT / "RELEASING.md"]
    lines = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    called = {match[1] for line in lines if (match := re.match(r"(?:\$ )?pertharness ([a-z]+)", line.strip()))}
    commands = cli.list_commands(click.Context(cli))
    assert {"run", "env"} <= called <= {*commands, "is", "starts", "runs"}  # the latter in sentences


def test_tools_have_one_version() -> None:
    """What checks a commit is what checks the repository."""
    files = ["tox.ini", ".pre-commit-config.yaml", "requirements-dev.txt"]
    found = {name: set(re.findall(r"(ruff|mypy)==([\d.]+)", (ROOT / name).read_text("utf-8"))) for name in files}
    assert len(found["tox.ini"]) == 2
    assert found["requirements-dev.txt"] == found["tox.ini"]
    assert found[".pre-commit-config.yaml"] <= found["tox.ini"]


def test_the_slow_files_are_there() -> None:
    text = (ROOT / "conftest.py").read_text(encoding="utf-8").partition("SLOW_VERSIONS = ")[2].partition("class ")[0]
    listed = re.findall(r'"(\S+\.py)"', text)
    assert listed
    assert [name for name in listed if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize(
    ("choice", "runs"), [("reference", False), ("slow", False), ("not docs", False), ("models", True)]
)  # fmt: skip
def test_tests_that_build_environments_run_only_where_their_marker_is_named(choice: str, runs: bool) -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-m", choice]
    done = subprocess.run([*command, "tests/test_models_together.py"], cwd=ROOT, capture_output=True, text=True)
    assert ("::test_" in done.stdout) == runs, done.stdout + done.stderr
    assert done.returncode == (0 if runs else 5), done.stderr
