"""Making a plugin's lock: what its pyproject.toml requires, with what a worker needs, as exact versions."""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from pertharness.errors import BuildError
from pertharness.files import write_text
from pertharness.hookspecs import PROJECT
from pertharness.host.environments.source import OTHER_PYTHONS
from pertharness.host.environments.spec import LOCK
from pertharness.host.environments.uv import find_uv
from pertharness.host.environments.wheels import core_wheel
from pertharness.host.recipe.position import toml


def write_lock(path: Path, *, python: str | None = None, upgrade: bool = False) -> Path:
    """Write ``requirements.lock`` into the package of a plugin's folder; versions that are in it stay, if they may.

    Nothing in it tells where the packages came from.

    Parameters
    ----------
    path
        Folder with the plugin's ``pyproject.toml``.
    python
        Version of Python, e.g. ``3.10``; by default this one if the plugin takes it, else the oldest that it takes.
    upgrade
        Take the newest versions instead of those in the lock.

    Raises
    ------
    BuildError
        If there is no such plugin, or its requirements cannot be met together.
    """
    project = read_project(path)
    target = _package(path, project) / LOCK
    version = python or _python(project.get("requires-python", ""), str(path))
    uv = find_uv()
    with tempfile.TemporaryDirectory(prefix="pertharness-lock-") as scratch:
        core = core_wheel(Path(scratch))
        wanted, out = Path(scratch) / "worker.in", Path(scratch) / LOCK
        wanted.write_text(f"{PROJECT} @ {core.as_uri()}\n", encoding="utf-8")
        if target.exists() and not upgrade:
            out.write_text(target.read_text(encoding="utf-8"), encoding="utf-8")
        uv(
            "pip", "compile", (path / "pyproject.toml").absolute(), wanted, "--python-version", version,
            "--no-emit-package", PROJECT, "--no-header", "--no-annotate",
            "--output-file", out, cwd=path, what=f"the requirements of {str(path)!r}, with a worker's",
        )  # fmt: skip
        lines = [line for line in out.read_text(encoding="utf-8").splitlines() if _is_pin(line)]
    name = project.get("name", path.name)
    header = f"# The environment of {name}, complete: its requirements and a worker's. Python {version}."
    write_text(target, "\n".join([header, *lines, ""]))
    return target


def read_project(path: Path) -> dict[str, Any]:
    """Give the table ``project`` of a folder's ``pyproject.toml``."""
    try:
        data = toml.loads((path / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BuildError(f"{str(path / 'pyproject.toml')!r} cannot be read: {error}") from None
    found: dict[str, Any] = data.get("project", {})
    return found


def _package(path: Path, project: dict[str, Any]) -> Path:
    """Give the folder of the package that holds the plugin."""
    points = project.get("entry-points", {}).get(PROJECT, {})
    if len(points) != 1:
        group = f"[project.entry-points.{PROJECT}]"
        raise BuildError(f"{str(path)!r}: {group} has to name one plugin; it names {len(points)}")
    top = str(next(iter(points.values()))).split(".")[0]
    places = [path / "src" / top, path / top]
    for place in places:
        if place.is_dir():
            return place
    raise BuildError(f"there is no package {str(places[0])!r}; the lock lies inside the package of the plugin")


def _python(wanted: str, where: str) -> str:
    """Give the version of Python that a lock is for."""
    own = ".".join(platform.python_version_tuple()[:2])
    try:
        takes = SpecifierSet(wanted)
    except InvalidSpecifier:
        raise BuildError(f"{where}: requires-python {wanted!r} is no range of versions") from None
    # The highest patch that there may be: "<3.11" and ">=3.10.4" both speak of 3.10.
    fitting = [one for one in (own, *OTHER_PYTHONS) if takes.contains(f"{one}.99") or takes.contains(one)]
    if not fitting:
        raise BuildError(f"{where}: requires-python {wanted!r} takes none of {', '.join(OTHER_PYTHONS)}")
    return fitting[0]


def _is_pin(line: str) -> bool:
    """Say whether a line names a version, and not where it came from."""
    return bool(line.strip()) and not line.lstrip().startswith(("#", "-"))
