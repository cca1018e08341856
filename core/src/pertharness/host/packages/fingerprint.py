"""Hash what a plugin's results depend on besides their inputs: its source and its required distributions."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path

from pertharness.contract.distributions import import_roots, is_package
from pertharness.contract.errors import PertharnessError
from pertharness.contract.protocol import PROJECT
from pertharness.files.whole import canonical_json, sha256_file, sha256_text
from pertharness.host.packages.sources import Sources

WORKER_SIDE = Path(__file__).parents[2]
HOST_ONLY = frozenset({"click", "jinja2", "packaging", "platformdirs", "rich", "tomli", "tomli-w", "uv"})
"""What only the host side imports: a worker's environment need not have it, and no result depends on it."""


def plugin_hash(
    module: str, owner: Distribution | None, search_path: Sequence[Path] | None = None,
    libraries: Sequence[Distribution] = (),
) -> str:  # fmt: skip
    """Return the sha256 over the files of a plugin and its libraries, found without importing it: see `plugin_files`.

    Raises
    ------
    PertharnessError
        If the module is not installed.
    """
    own, *others = plugin_files(module, owner, search_path, libraries).items()
    if not others:
        return _hash_files(own[1])
    return sha256_text(canonical_json({name: _hash_files(files) for name, files in (own, *others)}))


def plugin_files(
    module: str, owner: Distribution | None, search_path: Sequence[Path] | None = None,
    libraries: Sequence[Distribution] = (),
) -> dict[str, list[Path]]:  # fmt: skip
    """Return the files of a plugin and its libraries by package or module, its own first, without importing it.

    They are the files of the package of its module, and of all other packages and modules of its distribution: a plugin
    may keep its hooks in one module and their code in another. For a plugin of the harness, they are those of the
    module alone; the stage numbers cover the harness itself (`pertharness.host.store.keys`).

    Parameters
    ----------
    module
        Full name of the plugin's module.
    owner
        The distribution of the module.
    search_path
        Folders of packages to search, instead of this interpreter's.
    libraries
        Distributions of libraries whose files count like the plugin's own: see `local_libraries`.

    Raises
    ------
    PertharnessError
        If the module is not installed.
    """
    if module.partition(".")[0] == PROJECT:
        files = _files_of(module, search_path)
        if not files:
            raise _not_installed(module)
        return {module: files}
    own = _root_of(module, search_path)
    roots = import_roots(owner) if owner is not None else {}
    # An import hook may map the package to a folder of another name.
    files = _files_of(own, search_path) or _files_at([roots[own]] if own in roots else [])
    all_roots = roots | {name: path for library in libraries for name, path in import_roots(library).items()}
    others = {name: path for name, path in all_roots.items() if not _is_within(name, own) and not _is_within(own, name)}
    if not files:
        raise _not_installed(module)
    return {own: files} | {name: other_files for name, path in others.items() if (other_files := _files_at([path]))}


def local_libraries(owner: Distribution | None, path: Sequence[str] | None = None) -> list[Distribution]:
    """Return the requirements of a distribution that were installed from folders, and theirs in turn, sorted by name.

    Such a package is edited without a new version, so that its version does not identify it. pertharness is left out.

    Parameters
    ----------
    path
        Folders of packages to search, instead of this interpreter's.
    """
    libraries: dict[str, Distribution] = {}
    todo = _requirements(owner) if owner is not None else []
    while todo:
        name = todo.pop()
        if name == PROJECT or name in libraries:
            continue
        candidates = distributions(name=name) if path is None else distributions(name=name, path=list(path))
        found = next(iter(candidates), None)
        if found is not None and _is_from_folder(found):
            libraries[name] = found
            todo += _requirements(found)
    return [libraries[name] for name in sorted(libraries)]


def _is_from_folder(installed: Distribution) -> bool:
    """Return whether a distribution was installed from a folder (PEP 610)."""
    try:
        return "dir_info" in json.loads(installed.read_text("direct_url.json") or "{}")
    except ValueError:
        return False


def sources_of(
    module: str, owner: Distribution | None, search_path: Sequence[Path] | None = None,
    libraries: Sequence[Distribution] = (),
) -> Sources:  # fmt: skip
    """Return the present content of a plugin's files; see `plugin_files`."""
    files = plugin_files(module, owner, search_path, libraries).values()
    return Sources(path for of_a_module in files for path in _without_caches(of_a_module))


def _not_installed(module: str) -> PertharnessError:
    return PertharnessError(
        f"the module {module!r} is not installed; install the plugin again, or remove its entry point"
    )


def _files_of(module: str, search_path: Sequence[Path] | None) -> list[Path]:
    """Return the files of a module or package; none if it is absent."""
    top, *parts = module.split(".")
    folders, origin = _find(top, search_path)
    return _files_at([Path(folder, *parts) for folder in folders] if folders else [origin] if origin else [])


def _root_of(module: str, search_path: Sequence[Path] | None) -> str:
    """Return the package of a module: the first that is not a namespace package, or the module itself."""
    top, *parts = module.split(".")
    folders, _ = _find(top, search_path)
    depth = 0
    while folders and depth < len(parts) and not any(is_package(Path(path, *parts[:depth])) for path in folders):
        depth += 1
    return ".".join([top, *parts[:depth]])


def _is_within(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def _find(top: str, search_path: Sequence[Path] | None) -> tuple[list[str], Path | None]:
    """Return the folders of a package, or the file of a module; names without a dot import nothing."""
    if search_path is not None:
        spec = PathFinder.find_spec(top, [str(location) for location in search_path])
    else:
        spec = importlib.util.find_spec(top)
    folders = list(spec.submodule_search_locations or []) if spec else []
    return folders, Path(spec.origin) if spec and spec.origin else None


def _files_at(paths: Sequence[Path]) -> list[Path]:
    """Return the files of packages and modules, at any depth and through links."""
    files = []
    for path in paths:
        below = sorted(_walk(path)) if path.is_dir() else [path, path.with_suffix(".py")]
        files += [file for file in below if file.is_file()]
    return files


def _walk(top: Path) -> Iterator[Path]:
    """Yield the files below a folder, through linked folders too, as imports follow them."""
    entered = set()
    for folder, folders, names in os.walk(top, followlinks=True):
        folders.sort()
        if (real := os.path.realpath(folder)) in entered:
            folders.clear()
            continue
        entered.add(real)
        yield from (Path(folder, name) for name in names)


def worker_hash(folder: Path = WORKER_SIDE) -> str:
    """Return the sha256 over the worker side of this package, which shows whether an environment has the running one.

    It does not enter keys.

    Parameters
    ----------
    folder
        Folder of the package, here or in another environment.
    """
    others = {"host", "testing"}
    files = [path for path in sorted(folder.rglob("*.py")) if not others & {*path.relative_to(folder).parts}]
    return _hash_files(files)


def _without_caches(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.is_file() and "__pycache__" not in path.parts]


def _hash_files(paths: list[Path]) -> str:
    sources = _without_caches(paths)
    base = Path(os.path.commonpath([path.parent for path in sources]))
    return sha256_text(canonical_json([(path.relative_to(base).as_posix(), sha256_file(path)) for path in sources]))


def environment_hash(versions: Mapping[str, str], python_version: str = "") -> str:
    """Return the sha256 over versions of packages and of the interpreter.

    The harness is not among the packages: its stage numbers enter keys instead (`pertharness.host.store.keys`).

    Parameters
    ----------
    versions
        Normalised name -> version, from `required_versions`.
    python_version
        Version of Python; by default that of this interpreter.
    """
    return sha256_text(canonical_json([python_version or platform.python_version(), dict(versions)]))


def required_versions(root: Distribution, installed: dict[str, tuple[str, list[str]]] | None = None) -> dict[str, str]:
    """Return name -> version of all direct and indirect requirements of a distribution and of a worker.

    They enter the keys of the plugin's records. Other installed plugins do not alter these, and neither does what only
    the host side requires (`HOST_ONLY`). pertharness itself is left out: see `environment_hash`. `installed` caches
    version and requirements between calls, because reading metadata takes longer than everything else here.
    """
    versions: dict[str, str] = {}
    installed = {} if installed is None else installed
    harness = distribution(PROJECT)
    own = _requirements(root) if _normal(root.name) != PROJECT else []
    todo = [*own, *(name for name in _requirements(harness) if name not in HOST_ONLY)]
    while todo:
        name = todo.pop()
        if name in versions or name == PROJECT:
            continue
        if name not in installed:
            try:
                dist = distribution(name)
            except PackageNotFoundError:  # an extra or a marker that does not apply here
                continue
            installed[name] = dist.version, _requirements(dist)
        versions[name], required = installed[name]
        todo.extend(required)
    return versions


def _requirements(owner: Distribution) -> list[str]:
    """Return the normalised names of a distribution's requirements, without those of extras."""
    plain = [text for text in owner.requires or [] if "extra ==" not in text]
    names = [re.match(r"[A-Za-z0-9._-]+", text) for text in plain]
    return [_normal(match.group()) for match in names if match]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
