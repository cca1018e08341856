"""Libraries of a plugin that lie in folders beside it: built, installed, and part of what identifies the plugin."""

from __future__ import annotations

import json
import os
import re
import shutil
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pertharness.contract.errors import BuildError
from pertharness.host.environments.build import build
from pertharness.host.environments.folder import Environment, fitness, site_packages
from pertharness.host.environments.interpreter import plugin_of
from pertharness.host.environments.lockfile import write_lock
from pertharness.host.packages.fingerprint import local_libraries, plugin_hash
from pertharness.host.plugins.registry import find_plugins

if TYPE_CHECKING:
    from conftest import Shelf

SHARED = "SHARED = 1\n"
READS_IT = "\nfrom shared_parts import SHARED\n"


def library(shelf: Shelf, source: Path, name: str, text: str, requires: str = "") -> Path:
    """Write the folder of a library beside that of the plugin, built as this is."""
    folder = source.parent / name
    module = name.replace("-", "_")
    metadata = tuple([requires] if requires else [])
    built = shelf.wheel(shelf.root / "own", name, files={f"{module}/__init__.py": text}, requires=metadata)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.unpack_archive(built, folder / "wheel", "zip")
    backend = (source / "backend.py").read_text().replace("pertharness_tiny-", f"{module}-")
    (folder / "backend.py").write_text(backend)
    project = (source / "pyproject.toml").read_text().partition("[project]")[0]
    project += f'[project]\nname = "{name}"\nversion = "1.0"\ndependencies = {json.dumps(list(metadata))}\n'
    (folder / "pyproject.toml").write_text(project)
    return folder


@pytest.fixture
def shared(shelf: Shelf, source: Path) -> Path:
    """The folder of a library that the plugin of the folder `source` requires and reads."""
    lock = shelf.lock("shared-parts==1.0")
    wheel = shelf.plugin(lock=lock, text=shelf.text + READS_IT, requires=("shared-parts>=1",))
    shutil.unpack_archive(wheel, source / "wheel", "zip")
    project = (source / "pyproject.toml").read_text().replace('["here"]', '["here", "shared-parts>=1"]')
    project += '\n[tool.uv.sources]\nshared-parts = { path = "../shared-parts", editable = true }\n'
    project += 'pertharness = { path = "../../core" }\nunused = { path = "../nowhere" }\n'
    (source / "pyproject.toml").write_text(project)
    return library(shelf, source, "shared-parts", SHARED)


def build_folder(shelf: Shelf) -> Environment:
    return build("plugins/tiny", shelf.envs, base=shelf.root)


def test_a_library_beside_the_plugin_is_installed_and_a_change_of_it_is_another_plugin(
    shelf: Shelf, source: Path, shared: Path
) -> None:
    first = build_folder(shelf)
    assert first.packages["shared-parts"] == "1.0"
    assert first.libraries == ("shared-parts",)
    assert (site_packages(shelf.envs.path_of(first)) / "shared_parts" / "__init__.py").read_text() == SHARED
    shown = shelf.command("env", "show", "tiny").stdout
    assert re.search("^libraries +shared-parts, from folders beside that of the plugin$", shown, re.MULTILINE)
    before = find_plugins(shelf.envs)[0]["tiny"]
    assert build_folder(shelf) == first
    library(shelf, source, "shared-parts", "SHARED = 2\n")
    second = build_folder(shelf)
    assert second.folder != first.folder
    after = find_plugins(shelf.envs)[0]["tiny"]
    assert after.identity() == {**before.identity(), "source": after.source}
    assert after.source != before.source


def test_a_library_that_was_changed_in_the_environment_makes_it_broken(shelf: Shelf, shared: Path) -> None:
    built = build_folder(shelf)
    file = site_packages(shelf.envs.path_of(built)) / "shared_parts" / "__init__.py"
    content = file.read_text()
    file.unlink()  # a link to uv's cache
    file.write_text(content.replace("1", "2"))
    assert fitness(shelf.envs, built) == (
        "broken",
        "the files of 'pertharness_tiny' or of shared-parts in it were changed",
    )


def test_a_plugin_of_an_index_gets_the_library_by_its_lock(
    shelf: Shelf, source: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BuildError, match="shared-parts"):  # no wheel of it is on the index
        build(str(shelf.root / "own" / "pertharness_tiny-1.0-py3-none-any.whl"), shelf.envs)
    index = shelf.root / "more-wheels"
    shelf.wheel(index, "shared-parts", files={"shared_parts/__init__.py": SHARED})
    monkeypatch.setenv("PIP_FIND_LINKS", f"{os.environ['PIP_FIND_LINKS']} {index}")
    built = build(str(shelf.root / "own" / "pertharness_tiny-1.0-py3-none-any.whl"), shelf.envs)
    assert (built.packages["shared-parts"], built.libraries) == ("1.0", ())


def test_a_library_of_the_library_is_installed_too(shelf: Shelf, source: Path, shared: Path) -> None:
    library(shelf, source, "shared-parts", SHARED, requires="deeper")
    library(shelf, source, "deeper", "")
    with (shared / "pyproject.toml").open("a") as file:
        file.write('\n[tool.uv.sources]\ndeeper = { path = "../deeper" }\n')
    lock = source / "wheel" / "pertharness_tiny" / "requirements.lock"
    with pytest.raises(BuildError, match=r"requirements.lock has no line of it, .* expected the line deeper==1.0"):
        build_folder(shelf)
    lock.write_text(lock.read_text() + "\ndeeper==1.0\n")
    assert build_folder(shelf).libraries == ("deeper", "shared-parts")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("../shared-parts", "../absent", r"'shared-parts' has path = '../absent', but there is no package in '/"),
        ("../shared-parts", "../tiny", r"is the package 'pertharness-tiny', but .* calls it 'shared-parts'"),
        ('{ path = "../shared-parts", editable = true }', '[{ path = "../shared-parts" }]', "is a list; expected one"),
    ],
    ids=["absent", "other", "list"],
)  # fmt: skip
def test_a_path_that_leads_to_no_library_is_named(
    shelf: Shelf, source: Path, shared: Path, before: str, after: str, message: str
) -> None:
    file = source / "pyproject.toml"
    file.write_text(file.read_text().replace(before, after))
    with pytest.raises(BuildError, match=message):
        build_folder(shelf)


def test_a_lock_of_another_version_of_the_library_is_refused(shelf: Shelf, source: Path, shared: Path) -> None:
    lock = source / "wheel" / "pertharness_tiny" / "requirements.lock"
    lock.write_text(lock.read_text().replace("shared-parts==1.0", "shared-parts==0.9"))
    with pytest.raises(BuildError, match=r"has shared-parts==0.9, .* has shared-parts 1.0; expected the line"):
        build_folder(shelf)


def test_a_lock_has_a_line_of_the_library_and_not_its_place(shelf: Shelf, source: Path, shared: Path) -> None:
    (source / "pertharness_tiny").mkdir()
    lines = write_lock(source).read_text().splitlines()
    assert lines[1:] == sorted([*shelf.pins, "shared-parts==1.0"])


def write_installed(folder: Path, name: str, origin: dict[str, object] | None, requires: tuple[str, ...] = ()) -> None:
    """Write a package with one module as an installation leaves it."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    lines = [f"Name: {name}", "Version: 1.0", *(f"Requires-Dist: {text}" for text in requires)]
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *lines, ""]))
    (info / "RECORD").write_text(f"{name}.py,,\n")
    (folder / f"{name}.py").write_text("x = 1\n")
    if origin is not None:
        (info / "direct_url.json").write_text(json.dumps({"url": "file:///x", **origin}))


def test_beside_the_harness_a_library_from_a_folder_counts_by_its_content_and_one_of_an_index_by_its_version(
    tmp_path: Path,
) -> None:
    requires = ("edited", "folder>=1", "wheel", "index", "absent", "pertharness", "extra; extra == 'more'")
    write_installed(tmp_path, "plugin", None, requires)
    write_installed(tmp_path, "edited", {"dir_info": {"editable": True}}, ("deeper",))
    write_installed(tmp_path, "folder", {"dir_info": {}})
    write_installed(tmp_path, "deeper", {"dir_info": {}}, ("edited",))
    write_installed(tmp_path, "extra", {"dir_info": {}})
    write_installed(tmp_path, "wheel", {"archive_info": {}})
    write_installed(tmp_path, "index", None)
    owner = next(iter(distributions(name="plugin", path=[str(tmp_path)])))
    libraries = local_libraries(owner, [str(tmp_path)])
    assert [library.name for library in libraries] == ["deeper", "edited", "folder"]
    first = plugin_hash("plugin", owner, [tmp_path], libraries)
    assert plugin_hash("plugin", owner, [tmp_path]) != first
    (tmp_path / "index.py").write_text("x = 2\n")
    assert plugin_hash("plugin", owner, [tmp_path], libraries) == first
    (tmp_path / "deeper.py").write_text("x = 2\n")
    assert plugin_hash("plugin", owner, [tmp_path], libraries) != first
    (tmp_path / "edited-1.0.dist-info" / "direct_url.json").write_text("{")
    assert [library.name for library in local_libraries(owner, [str(tmp_path)])] == ["folder"]


def test_the_same_library_in_an_environment_and_beside_the_harness_is_the_same_plugin(
    shelf: Shelf, shared: Path, tmp_path: Path
) -> None:
    built = build_folder(shelf)
    packages = site_packages(shelf.envs.path_of(built))
    owner = next(iter(distributions(name="pertharness-tiny", path=[str(packages)])))
    info = next(packages.glob("shared_parts-*.dist-info"))
    (info / "direct_url.json").unlink()
    (info / "direct_url.json").write_text(json.dumps({"url": "file:///x", "dir_info": {}}))  # as pip installs a folder
    libraries = local_libraries(owner, [str(packages)])
    assert plugin_hash("pertharness_tiny", owner, [packages], libraries) == built.source


def test_an_interpreter_of_another_making_counts_its_libraries(shelf: Shelf, shared: Path) -> None:
    built = build_folder(shelf)
    python = shelf.envs.python(built)
    before = plugin_of(python, "tiny").source
    packages = site_packages(shelf.envs.path_of(built))
    info = next(packages.glob("shared_parts-*.dist-info"))
    (info / "direct_url.json").unlink()
    (info / "direct_url.json").write_text(json.dumps({"url": "file:///x", "dir_info": {}}))
    plugin = plugin_of(python, "tiny")
    assert plugin.source != before
    assert plugin.source == built.source
    assert packages / "shared_parts" / "__init__.py" in plugin.sources.paths  # type: ignore[union-attr]
