"""Write a plugin's lock: exact versions of the requirements of the plugin and of a worker."""

from __future__ import annotations

import platform
import re
import tempfile
from pathlib import Path

from pertharness.contract.errors import BuildError
from pertharness.contract.protocol import PROJECT
from pertharness.files.whole import write_text
from pertharness.host.environments.libraries import fetch_libraries
from pertharness.host.environments.pyproject import POINTS, read_table
from pertharness.host.environments.pythons import PYTHONS, both, takes
from pertharness.host.environments.spec import LOCK
from pertharness.host.environments.uv import find_uv
from pertharness.host.environments.wheels import core_wheel, decoded, normal_name, requires_python


def write_lock(path: Path, *, python: str | None = None, upgrade: bool = False) -> Path:
    """Write ``requirements.lock`` into the package of a plugin's folder, keeping its versions where possible.

    The lock does not name the origin of packages; a library that lies in a folder has its line like any other.

    Parameters
    ----------
    path
        Folder with the plugin's ``pyproject.toml``.
    python
        Version of Python, e.g. ``3.10``; by default the running one if the plugin supports it, else the oldest that
        it supports.
    upgrade
        Use the newest versions instead of those in the lock.

    Raises
    ------
    BuildError
        If the folder has no plugin, its requirements conflict, or it does not support this Python.
    """
    project = read_table(path, POINTS[:1])
    target = _package(path) / LOCK
    version = _python(project.get("requires-python", ""), str(path / "pyproject.toml"), python)
    uv = find_uv()
    with tempfile.TemporaryDirectory(prefix="pertharness-lock-") as scratch:
        core = core_wheel(Path(scratch))
        libraries = fetch_libraries(path.absolute(), uv, Path(scratch))
        left_out = [PROJECT, *(library.distribution for library in libraries)]
        worker_requirements, out = Path(scratch) / "worker.in", Path(scratch) / LOCK
        worker_requirements.write_text(f"{PROJECT} @ {core.as_uri()}\n", encoding="utf-8")
        if target.exists() and not upgrade:
            out.write_text(decoded(target.read_bytes(), str(target)), encoding="utf-8")
        uv(
            "pip", "compile", (path / "pyproject.toml").absolute(), worker_requirements, "--python-version", version,
            *(word for name in left_out for word in ("--no-emit-package", name)), "--no-header", "--no-annotate",
            "--output-file", out, cwd=path, task=f"the requirements of {str(path)!r}, with a worker's",
        )  # fmt: skip
        lines = [line for line in out.read_text(encoding="utf-8").splitlines() if _is_pin(line)]
        lines = sorted([*lines, *(f"{normal_name(library.distribution)}=={library.version}" for library in libraries)])
    name = project.get("name", path.name)
    header = f"# The environment of {name}, complete: its requirements and a worker's. Python {version}."
    write_text(target, "\n".join([header, *lines, ""]))
    return target


def _package(path: Path) -> Path:
    """Return the folder of the plugin's package."""
    points = read_table(path, POINTS)
    if len(points) != 1:
        raise BuildError(f"{str(path)!r}: [{'.'.join(POINTS)}] must name one plugin; it names {len(points)}")
    top = str(next(iter(points.values()))).split(".")[0]
    candidates = [path / "src" / top, path / top]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise BuildError(f"no package {str(candidates[0])!r}; the lock belongs into the package of the plugin")


def _python(requires: object, where: str, requested: str | None) -> str:
    """Return the Python version of a lock: the requested one, if plugin and harness support it, else a default."""
    common = both(requires, requires_python(), where)
    if requested is not None:
        if not re.fullmatch(r"\d+\.\d+(\.\d+)?", requested):
            raise BuildError(f"--python {requested!r} is not a version of Python; expected one such as 3.10")
        if not takes(common, requested):
            raise BuildError(
                f"--python {requested!r}: {where} and pertharness require {common}; pass one of those, or omit --python"
            )
        return requested
    own = ".".join(platform.python_version_tuple()[:2])
    fitting = [version for version in (own, *PYTHONS) if takes(common, version)]
    if not fitting:
        raise BuildError(
            f"{where}: requires-python {requires!r} excludes all of {', '.join(PYTHONS)}; pass --python X.Y"
        )
    return fitting[0]


def _is_pin(line: str) -> bool:
    """Return whether a line pins a version, rather than naming an origin."""
    return bool(line.strip()) and not line.lstrip().startswith(("#", "-"))
