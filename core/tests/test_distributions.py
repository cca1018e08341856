"""What a distribution brings that can be imported, as each way of installing it leaves it."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from pertharness.contract.distributions import import_roots, top_level_modules

FINDER = """
from __future__ import annotations
import sys
MAPPING: dict[str, str] = {mapping!r}
NAMESPACES: dict[str, list[str]] = {{'acme': ['/elsewhere/acme']}}
PATH_PLACEHOLDER = '__editable__.x-1.finder' + ".__path_hook__"
class _EditableFinder:
    @classmethod
    def find_spec(cls, fullname, _path=None, _target=None):
        return getattr(sys, "nothing", None)
"""
REDIRECTOR = """
from editables.redirector import RedirectingFinder as F
F.install()
F.map_module('pkgx', {package!r})
"""


def lay_down(folder: Path, *names: str) -> Path:
    """Write empty files, with the folders that they lie in."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("raise RuntimeError('imported')", encoding="utf-8")
    return folder


def installed(
    site: Path, *files: str, point: str = "pkgx.hooks", editable: bool = False, **more: str
) -> PathDistribution:
    """Write the metadata of a plugin with `files` in its RECORD; `more`: other files of the metadata."""
    info = site / "plugin_x-1.0.dist-info"
    info.mkdir(parents=True)
    texts = {"METADATA": "Metadata-Version: 2.1\nName: plugin-x\nVersion: 1.0\n"}
    texts["RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info.name}/METADATA", f"{info.name}/RECORD"])
    texts["entry_points.txt"] = f"[pertharness]\nx = {point}\n"
    texts["direct_url.json"] = json.dumps({"url": "file:///x", "dir_info": {"editable": editable}})
    texts |= {name.replace("__", "."): text for name, text in more.items()}
    for name, text in texts.items():
        (info / name).write_text(text, encoding="utf-8")
    return PathDistribution(info)


def plain(site: Path, _: Path) -> PathDistribution:
    """A wheel with packages, a module, an extension and data; of the namespace package, another brings a part too."""
    names = ["pkgx/__init__.py", "pkgx/core.py", "pkgx/sub/__init__.py", "pkgy/__init__.py", "lonely.py",
             "fast.cpython-311-x86_64-linux-gnu.so", "acme/part/__init__.py", "acme/deep/module.py"]  # fmt: skip
    lay_down(site, *names, "acme/of_another/__init__.py", "other/__init__.py")
    beside = ["pkgx/table.csv", "data/only.csv", "pkgx/__pycache__/core.cpython-311.pyc", "../../../bin/tool.py"]
    return installed(site, *names, *beside)


def mapped(site: Path, sources: Path) -> PathDistribution:
    """As setuptools installs what is not laid out in the simplest way, here with packages in folders of other names."""
    lay_down(sources, "lib/__init__.py", "lonely.py", "acme/part/__init__.py", "space/inner/__init__.py", "tests/a.py")
    names = {"pkgx": "lib", "lonely": "lonely", "acme.part": "acme/part", "space": "space"}
    mapping = {name: str(sources / path) for name, path in names.items()}
    lay_down(site, "__editable___x_finder.py").joinpath("__editable___x_finder.py").write_text(
        FINDER.format(mapping=mapping), encoding="utf-8"
    )
    (site / "__editable__.x.pth").write_text("import __editable___x_finder; __editable___x_finder.install()")
    return installed(site, "__editable__.x.pth", "__editable___x_finder.py", editable=True)


def redirected(site: Path, sources: Path) -> PathDistribution:
    """As hatchling installs what it cannot by a path alone."""
    lay_down(sources, "somewhere/__init__.py")
    lay_down(site, "_editable_impl_x.py").joinpath("_editable_impl_x.py").write_text(
        REDIRECTOR.format(package=str(sources / "somewhere" / "__init__.py")), encoding="utf-8"
    )
    return installed(site, "_editable_impl_x.py", "_editable_impl_x.pth", editable=True)


def by_path(site: Path, folder: Path, **more: str) -> PathDistribution:
    site.mkdir(parents=True, exist_ok=True)
    (site / "_x.pth").write_text(f"{folder}\nimport something\n", encoding="utf-8")
    return installed(site, "_x.pth", editable=True, **more)


def sources_folder(site: Path, sources: Path) -> PathDistribution:
    """In a folder of sources all is the distribution's, whatever the metadata named when it was installed."""
    lay_down(sources, "src/pkgx/__init__.py", "src/pkgy/__init__.py", "src/lonely.py", "src/acme/part/__init__.py",
             "src/x.egg-info/SOURCES.txt", "src/notes.txt", "src/pkgx/sub/__init__.py")  # fmt: skip
    return by_path(site, sources / "src", top_level__txt="pkgx\n")


def project_folder(site: Path, sources: Path) -> PathDistribution:
    """In the project's own folder, its packages are, but none of the files that serve to build and test it."""
    lay_down(sources, "pyproject.toml", "setup.py", "conftest.py", "pkgx/__init__.py", "pkgy/__init__.py",
             "tests/__init__.py", "docs/__init__.py", "notebooks/a.py")  # fmt: skip
    return by_path(site, sources)


def named(site: Path, sources: Path) -> PathDistribution:
    """In the project's folder of a distribution that names what it brings, nothing else is."""
    lay_down(sources, "setup.py", "pkgx/__init__.py", "pkgy/__init__.py", "lonely.py", "unused/__init__.py")
    return by_path(site, sources, top_level__txt="lonely\npkgx\npkgy\nthere_is_none\n")


def egg(_: Path, sources: Path) -> PathDistribution:
    """As ``setup.py develop`` leaves it: the metadata lie in the folder of sources."""
    lay_down(sources, "setup.py", "pkgx/__init__.py", "pkgy/__init__.py", "tests/__init__.py")
    info = sources / "plugin_x.egg-info"
    info.mkdir()
    (info / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: plugin-x\nVersion: 1.0\n")
    (info / "SOURCES.txt").write_text("setup.py\ntests/__init__.py\n")
    (info / "top_level.txt").write_text("pkgx\npkgy\n")
    return PathDistribution(info)


WAYS: dict[str, tuple[Callable[[Path, Path], PathDistribution], dict[str, str]]] = {
    "plain": (plain, {
        "acme.deep.module": "site/acme/deep/module.py", "acme.part": "site/acme/part",
        "fast": "site/fast.cpython-311-x86_64-linux-gnu.so", "lonely": "site/lonely.py", "pkgx": "site/pkgx",
        "pkgy": "site/pkgy",
    }),
    "mapped": (mapped, {
        "acme.part": "project/acme/part", "lonely": "project/lonely.py", "pkgx": "project/lib",
        "space.inner": "project/space/inner",
    }),
    "redirected": (redirected, {"pkgx": "project/somewhere"}),
    "sources": (sources_folder, {
        "acme.part": "project/src/acme/part", "lonely": "project/src/lonely.py", "pkgx": "project/src/pkgx",
        "pkgy": "project/src/pkgy",
    }),
    "project": (project_folder, {"pkgx": "project/pkgx", "pkgy": "project/pkgy"}),
    "named": (named, {"lonely": "project/lonely.py", "pkgx": "project/pkgx", "pkgy": "project/pkgy"}),
    "egg": (egg, {"pkgx": "project/pkgx", "pkgy": "project/pkgy"}),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_all_that_a_distribution_brings_is_known_however_it_is_installed(way: str, tmp_path: Path) -> None:
    install, expected = WAYS[way]
    distribution = install(tmp_path / "site", tmp_path / "project")
    roots = {name: path.relative_to(tmp_path).as_posix() for name, path in import_roots(distribution).items()}
    assert roots == expected
    assert top_level_modules(distribution) == sorted({name.partition(".")[0] for name in expected})


def test_a_plugin_whose_files_cannot_be_told_has_its_own_module(tmp_path: Path) -> None:
    distribution = installed(tmp_path, "_loader.pth", point="pkgx.hooks:plugin", editable=True)
    assert import_roots(distribution) == {}
    assert top_level_modules(distribution) == ["pkgx"]
