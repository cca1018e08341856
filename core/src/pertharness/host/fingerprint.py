"""What a plugin's answers depend on besides their inputs: its source, and the distributions under it."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
from collections.abc import Mapping, Sequence
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from pertharness.errors import PertharnessError
from pertharness.files import canonical_json, sha256_file, sha256_text

WORKER_SIDE = Path(__file__).parents[1]


def source_hash(module: str, places: Sequence[Path] | None = None) -> str:
    """Give the sha256 over the files of a module or package, found without importing it.

    Parameters
    ----------
    module
        Its full name.
    places
        Folders of packages to look in, in place of this interpreter's.

    Raises
    ------
    PertharnessError
        If there is no such module.
    """
    top, *parts = module.split(".")
    if places is not None:
        spec = PathFinder.find_spec(top, [str(place) for place in places])
    else:
        spec = importlib.util.find_spec(top)  # of a name without a dot, so nothing is imported
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = [Path(folder, *parts) for folder in folders]
    if not folders and spec and spec.origin:
        found = [Path(spec.origin)]
    files = [
        file
        for path in found
        for file in (sorted(path.rglob("*")) if path.is_dir() else [path, path.with_suffix(".py")])
    ]
    if not any(file.is_file() for file in files):
        raise PertharnessError(
            f"the module {module!r} is not installed; install the plugin again, or remove its entry point"
        )
    return _hash_files(files)


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


def _hash_files(paths: list[Path]) -> str:
    kept = [path for path in paths if path.is_file() and "__pycache__" not in path.parts]
    base = Path(os.path.commonpath([path.parent for path in kept]))
    return sha256_text(canonical_json([(path.relative_to(base).as_posix(), sha256_file(path)) for path in kept]))


def environment_hash(versions: Mapping[str, str], python_version: str = "") -> str:
    """Return the sha256 over packages with their versions and the version of the interpreter.

    The harness is not among them: the numbers of its stages stand for it in keys (`pertharness.host.keys`).

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
    """Give the normalised names that a distribution requires, those of extras left out."""
    plain = [text for text in found.requires or [] if "extra ==" not in text]
    names = [re.match(r"[A-Za-z0-9._-]+", text) for text in plain]
    return [re.sub(r"[-_.]+", "-", match.group()).lower() for match in names if match]
