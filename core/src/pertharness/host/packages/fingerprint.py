"""What a plugin's answers depend on besides their inputs: its source, and the distributions under it."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from pertharness.contract.distributions import import_roots, is_package
from pertharness.contract.errors import PertharnessError
from pertharness.contract.protocol import PROJECT
from pertharness.files.whole import canonical_json, sha256_file, sha256_text
from pertharness.host.packages.sources import Sources

WORKER_SIDE = Path(__file__).parents[2]


def plugin_hash(module: str, owner: Distribution | None, places: Sequence[Path] | None = None) -> str:
    """Return the sha256 over the files of a plugin, found without importing it: see `plugin_files`.

    Raises
    ------
    PertharnessError
        If there is no such module.
    """
    own, *others = plugin_files(module, owner, places).items()
    if not others:
        return _hash_files(own[1])
    return sha256_text(canonical_json({name: _hash_files(files) for name, files in (own, *others)}))


def plugin_files(
    module: str, owner: Distribution | None, places: Sequence[Path] | None = None
) -> dict[str, list[Path]]:
    """Return the files of a plugin by package or module, its own first, found without importing it.

    They are those of the package that its module belongs to, and of all else that can be imported of its distribution:
    a plugin may keep its hooks in one module and what these do in another. Of a plugin of the harness it is the module
    alone; what the harness itself does, the numbers of its stages say (`pertharness.host.store.keys`).

    Parameters
    ----------
    module
        Its full name.
    owner
        The distribution that brings it.
    places
        Folders of packages to look in, in place of this interpreter's.

    Raises
    ------
    PertharnessError
        If there is no such module.
    """
    if module.partition(".")[0] == PROJECT:
        files = _files_of(module, places)
        if not files:
            raise _not_installed(module)
        return {module: files}
    own = _root_of(module, places)
    roots = import_roots(owner) if owner is not None else {}
    # An import hook may lead to a folder of another name, where it is not found by its name.
    files = _files_of(own, places) or _files_at([roots[own]] if own in roots else [])
    others = {name: path for name, path in roots.items() if not _is_within(name, own) and not _is_within(own, name)}
    if not files:
        raise _not_installed(module)
    return {own: files} | {name: found for name, path in others.items() if (found := _files_at([path]))}


def sources_of(module: str, owner: Distribution | None, places: Sequence[Path] | None = None) -> Sources:
    """Return the files of a plugin as they are now; see `plugin_files`."""
    files = plugin_files(module, owner, places).values()
    return Sources(path for of_a_module in files for path in _kept(of_a_module))


def _not_installed(module: str) -> PertharnessError:
    return PertharnessError(
        f"the module {module!r} is not installed; install the plugin again, or remove its entry point"
    )


def _files_of(module: str, places: Sequence[Path] | None) -> list[Path]:
    """Return the files of a module or package, none where it is not there."""
    top, *parts = module.split(".")
    folders, origin = _find(top, places)
    return _files_at([Path(folder, *parts) for folder in folders] if folders else [origin] if origin else [])


def _root_of(module: str, places: Sequence[Path] | None) -> str:
    """Return the package that a module belongs to: the first that is not a namespace package, or the module itself."""
    top, *parts = module.split(".")
    folders, _ = _find(top, places)
    depth = 0
    while folders and depth < len(parts) and not any(is_package(Path(path, *parts[:depth])) for path in folders):
        depth += 1
    return ".".join([top, *parts[:depth]])


def _is_within(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def _find(top: str, places: Sequence[Path] | None) -> tuple[list[str], Path | None]:
    """Return the folders of a package, or else the file of a module; its name has no dot, so nothing is imported."""
    if places is not None:
        spec = PathFinder.find_spec(top, [str(place) for place in places])
    else:
        spec = importlib.util.find_spec(top)
    folders = list(spec.submodule_search_locations or []) if spec else []
    return folders, Path(spec.origin) if spec and spec.origin else None


def _files_at(paths: Sequence[Path]) -> list[Path]:
    """Return the files of packages and modules, each with all below it, also where links lead elsewhere."""
    files = []
    for path in paths:
        below = sorted(_walk(path)) if path.is_dir() else [path, path.with_suffix(".py")]
        files += [file for file in below if file.is_file()]
    return files


def _walk(top: Path) -> Iterator[Path]:
    """Yield what is in a folder and all below it, folders that are links too, as imports go through them."""
    entered = set()
    for folder, folders, names in os.walk(top, followlinks=True):
        folders.sort()
        if (real := os.path.realpath(folder)) in entered:
            folders.clear()
            continue
        entered.add(real)
        yield from (Path(folder, name) for name in names)


def worker_hash(folder: Path = WORKER_SIDE) -> str:
    """Return the sha256 over the worker side of this package, by which an environment is known to hold the running one.

    It enters no key.

    Parameters
    ----------
    folder
        Of the package, here or in another environment.
    """
    others = {"host", "testing"}
    kept = [path for path in sorted(folder.rglob("*.py")) if not others & {*path.relative_to(folder).parts}]
    return _hash_files(kept)


def _kept(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.is_file() and "__pycache__" not in path.parts]


def _hash_files(paths: list[Path]) -> str:
    kept = _kept(paths)
    base = Path(os.path.commonpath([path.parent for path in kept]))
    return sha256_text(canonical_json([(path.relative_to(base).as_posix(), sha256_file(path)) for path in kept]))


def environment_hash(versions: Mapping[str, str], python_version: str = "") -> str:
    """Return the sha256 over packages with their versions and the version of the interpreter.

    The harness is not among them: the numbers of its stages stand for it in keys (`pertharness.host.store.keys`).

    Parameters
    ----------
    versions
        Normalised name -> version, as `required_versions` gives them.
    python_version
        Of this interpreter by default.
    """
    return sha256_text(canonical_json([python_version or platform.python_version(), dict(versions)]))


def required_versions(root: Distribution, known: dict[str, tuple[str, list[str]]] | None = None) -> dict[str, str]:
    """Return name and version of all that a distribution and pertharness require, directly or not.

    Only what the plugin requires enters the keys of its records: another plugin beside it alters none of them.
    pertharness itself does not: see `environment_hash`. `known` keeps version and requirements of what was looked at
    for another distribution: to read metadata takes longer than all else here.
    """
    versions: dict[str, str] = {}
    known = {} if known is None else known
    todo = [*_requirements(root), *_requirements(distribution("pertharness"))]
    while todo:
        name = todo.pop()
        if name in versions or name == "pertharness":
            continue
        if name not in known:
            try:
                found = distribution(name)
            except PackageNotFoundError:  # an extra or a marker that does not apply here
                continue
            known[name] = found.version, _requirements(found)
        versions[name], required = known[name]
        todo.extend(required)
    return versions


def _requirements(found: Distribution) -> list[str]:
    """Return the normalised names that a distribution requires, those of extras left out."""
    plain = [text for text in found.requires or [] if "extra ==" not in text]
    names = [re.match(r"[A-Za-z0-9._-]+", text) for text in plain]
    return [re.sub(r"[-_.]+", "-", match.group()).lower() for match in names if match]
