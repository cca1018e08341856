"""The modules that a distribution installs, found from its metadata and files without importing anything."""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path, PurePosixPath

from pertharness.contract.protocol import PROJECT

SUFFIXES = (".py", ".so", ".pyd", ".pyc")
"""Suffixes of files that can be imported; a ``.pyc`` outside ``__pycache__`` needs no source."""
_PREFERRED = (".so", ".pyd", ".py", ".pyc")
"""Suffixes in the order in which Python prefers them if a module has several files."""
PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg")
NOT_SHIPPED = frozenset({
    "benchmark", "benchmarks", "build", "ci", "dist", "doc", "docs", "example", "examples", "scripts", "site", "test",
    "tests", "tools", "venv",
})  # fmt: skip
"""Folders of a project that are not part of its wheel by convention (setuptools excludes them)."""
DEEPEST_NAMESPACE = 4
"""Number of nested folders without ``__init__.py`` that are searched for packages."""


def top_level_modules(distribution: Distribution) -> list[str]:
    """Return the names of the top-level modules and packages of a distribution, sorted.

    The modules of its plugins are included, wherever they are.
    """
    return sorted({name.partition(".")[0] for name in import_roots(distribution)} | set(_plugin_modules(distribution)))


def import_roots(distribution: Distribution) -> dict[str, Path]:
    """Return the packages and modules of a distribution: full name -> folder of the package, or file of the module.

    A namespace package may be shared with other distributions, so the packages and modules in it are returned instead.
    For an editable install, everything in its source folder is returned. If the source folder is the project's own
    folder, the names in ``top_level.txt`` are returned, or else all packages except tests and the like.

    Parameters
    ----------
    distribution
        Distribution of any environment; only its files are read.
    """
    location = Path(str(distribution.locate_file("")))
    top_level = {name.replace("/", ".").partition(".")[0] for name in _lines(distribution, "top_level.txt")}
    if not _is_editable(distribution):
        roots = _recorded(distribution)
        folders = [location]
    else:
        roots = _mapped(distribution, location)
        folders = [*_folders(distribution, location), location]
        for folder in folders[:-1]:
            roots.update(_beside(folder, has_names=bool(top_level)))
    for name in sorted(top_level | set(_plugin_modules(distribution))):
        if not any(root.partition(".")[0] == name for root in roots):
            roots.update(next(filter(None, (dict(_at(folder / name, name)) for folder in folders)), {}))
    return {name: roots[name] for name in sorted(roots) if not _is_below_another(name, roots)}


def _is_below_another(name: str, roots: dict[str, Path]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:n]) in roots for n in range(1, len(parts)))


def _plugin_modules(distribution: Distribution) -> list[str]:
    """Return the top-level modules of a distribution's plugins."""
    points = [point for point in distribution.entry_points if point.group == PROJECT]
    return [point.value.partition(":")[0].strip().partition(".")[0] for point in points]


def _lines(distribution: Distribution, name: str) -> list[str]:
    """Return the lines of a metadata file; none if the file is missing."""
    return [line.strip() for line in (distribution.read_text(name) or "").splitlines() if line.strip()]


def _is_editable(distribution: Distribution) -> bool:
    """Return whether a distribution is an editable install; one without a RECORD is a source folder."""
    if distribution.read_text("RECORD") is None:
        return True
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        return bool(origin.get("dir_info", {}).get("editable"))
    except (ValueError, AttributeError):
        return False


def _record(distribution: Distribution) -> list[PurePosixPath]:
    """Return the paths in a distribution's RECORD that are below site-packages."""
    rows = csv.reader(_lines(distribution, "RECORD"))
    paths = [PurePosixPath(row[0]) for row in rows if row]
    return [path for path in paths if not path.is_absolute() and ".." not in path.parts]


def _recorded(distribution: Distribution) -> dict[str, Path]:
    """Return the roots among the installed files."""
    paths = [
        path for path in _record(distribution)
        if path.suffix in SUFFIXES and "__pycache__" not in path.parts and all(map(_is_name, _parts(path)))
    ]  # fmt: skip
    packages = {path.parent for path in paths if path.name.startswith("__init__.")}
    roots = {}
    for path in paths:
        above = [parent for parent in list(path.parents)[-2::-1] if parent in packages]
        root = above[0] if above else path
        roots[".".join(_parts(root))] = Path(str(distribution.locate_file(root)))
    return roots


def _parts(path: PurePosixPath) -> list[str]:
    """Return the parts of a module's name, without suffixes such as ``.abi3.so``."""
    *parents, last = path.parts
    return [*parents, last.partition(".")[0] if last.endswith(SUFFIXES) else last]


def _is_name(part: str) -> bool:
    return part.isidentifier() and part != "__pycache__"


def _mapped(distribution: Distribution, location: Path) -> dict[str, Path]:
    """Return the roots that an editable install maps by an import hook.

    setuptools, hatchling and scikit-build-core each write a module that pairs names with paths, in a dict or in calls.
    """
    roots: dict[str, Path] = {}
    for path in _record(distribution):
        if len(path.parts) > 1 or path.suffix != ".py":
            continue
        try:
            tree = ast.parse((location / path).read_bytes())
        except (OSError, ValueError, SyntaxError, RecursionError):
            continue
        for name, target in _pairs(tree):
            if all(map(_is_name, name.split("."))) and Path(target).is_absolute():
                roots.update(_at(Path(target), name))
    return roots


def _pairs(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the pairs of texts in dicts, and the first two arguments of calls."""
    for node in ast.walk(tree):
        pairs: list[tuple[ast.expr | None, ast.expr]] = []
        if isinstance(node, ast.Dict):
            pairs = list(zip(node.keys, node.values, strict=True))
        elif isinstance(node, ast.Call) and len(node.args) > 1:
            pairs = [(node.args[0], node.args[1])]
        for name, target in pairs:
            if isinstance(name, ast.Constant) and isinstance(target, ast.Constant):
                yield str(name.value), str(target.value)


def _folders(distribution: Distribution, location: Path) -> list[Path]:
    """Return the folders that a distribution's ``.pth`` files add to ``sys.path``."""
    folders = []
    for path in _record(distribution):
        if len(path.parts) > 1 or path.suffix != ".pth":
            continue
        try:
            lines = (location / path).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        folders += [Path(line.strip()) for line in lines if Path(line.strip()).is_absolute()]
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


def _beside(folder: Path, *, has_names: bool) -> Iterator[tuple[str, Path]]:
    """Yield the packages and modules in the source folder of an editable install.

    Parameters
    ----------
    has_names
        Whether ``top_level.txt`` names the modules; then nothing is guessed in a project's own folder.
    """
    if next(folder.glob("*.dist-info"), None) is not None:  # other distributions are installed in it
        return
    is_project = any((folder / name).is_file() for name in PROJECT_FILES)
    if is_project and has_names:
        return
    for path in sorted(folder.iterdir()):
        name = _module_name(path)
        if not is_project and _is_name(name):
            yield from _at(path, name)
        elif name not in NOT_SHIPPED and _is_name(name) and path.is_dir() and is_package(path):
            yield name, path


def _module_name(path: Path) -> str:
    return path.name if path.is_dir() else _parts(PurePosixPath(path.name))[0]


def _at(path: Path, name: str, depth: int = 0) -> Iterator[tuple[str, Path]]:
    """Yield the roots at a path: a folder, a file, or a file given without its suffixes.

    A folder without ``__init__.py`` is a namespace package; the roots in it are yielded.
    """
    if path.name.startswith("__init__.") and path.is_file():
        yield name, path.parent
    elif path.is_file():
        if path.suffix in SUFFIXES:
            yield name, path
    elif path.is_dir() and is_package(path):
        yield name, path
    elif path.is_dir() and depth < DEEPEST_NAMESPACE:
        for inner in sorted(path.iterdir()):
            if _is_name(_module_name(inner)):
                yield from _at(inner, f"{name}.{_module_name(inner)}", depth + 1)
    elif not path.exists() and path.parent.is_dir():
        files = [file for file in sorted(path.parent.glob(f"{path.name}.*")) if file.suffix in SUFFIXES]
        if files:
            yield name, min(files, key=lambda file: _PREFERRED.index(file.suffix))


def is_package(folder: Path) -> bool:
    """Return whether a folder is a regular package, not a namespace package."""
    return any(path.suffix in SUFFIXES for path in folder.glob("__init__.*"))
