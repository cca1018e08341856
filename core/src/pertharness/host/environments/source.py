"""Fetch a requested plugin from a folder, a wheel, git or an index, as a wheel, without importing it."""

from __future__ import annotations

import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

from pertharness.contract.errors import BuildError
from pertharness.contract.protocol import PROJECT
from pertharness.host.environments.folder import Folder
from pertharness.host.environments.pyproject import names_plugin
from pertharness.host.environments.pythons import PYTHONS
from pertharness.host.environments.request_checks import (
    EXPECTED,
    NAME,
    check_address,
    check_requested,
    check_requirement,
    is_address,
)
from pertharness.host.environments.uv import Uv
from pertharness.host.environments.wheels import Wheel, pack_installed, read_wheel


def resolve(requested: str, folder: Folder, base: Path) -> str:
    """Resolve a request to an address, path or requirement.

    A name is looked up among environments, in the folder ``plugins/NAME``, then taken as a distribution. A path becomes
    absolute, so that it is valid in any folder.
    """
    check_requested(requested)
    if is_address(requested):
        address = requested if requested.startswith("git+") or not requested.endswith(".git") else f"git+{requested}"
        check_address(address, requested)
        return address
    if "://" in requested:
        check_requirement(requested)
        return requested
    path = (base / Path(requested).expanduser()).absolute()
    if path.is_file() or (path / "pyproject.toml").is_file():
        return str(path)
    if path.is_dir() or "/" in requested or requested.endswith(".whl"):
        problem = "no such file or folder" if not path.is_dir() else "no pyproject.toml in this folder"
        raise BuildError(f"{str(path)!r}: {problem}; expected the folder of a plugin, or its wheel")
    if not NAME.fullmatch(requested):
        check_requirement(requested)  # such as pertharness-cpa>=1
        return requested
    if (environment := folder.last(requested)) is not None:
        return environment.asked
    if names_plugin(base / "plugins" / requested, requested):
        return str((base / "plugins" / requested).absolute())
    return requested if requested.startswith(f"{PROJECT}-") else f"{PROJECT}-{requested.replace('_', '-')}"


def fetch_wheel(requested: str, uv: Uv, scratch: Path) -> Wheel:
    """Return the wheel of a plugin; `requested` comes from `resolve`.

    Raises
    ------
    BuildError
        If it cannot be fetched; the message has uv's error and a hint.
    """
    path = Path(requested)
    if path.is_absolute() and path.is_file():
        return read_wheel(path)
    if path.is_absolute():
        return build_wheel(path, uv, scratch, scratch / "wheel")
    return read_wheel(pack_installed(_unpack(requested, uv, scratch), scratch / "packed"))


def build_wheel(folder: Path, uv: Uv, scratch: Path, out: Path) -> Wheel:
    """Return the wheel of a package's folder, built into the folder `out`.

    Raises
    ------
    BuildError
        If it cannot be built.
    """
    options = ("--wheel", "--python", sys.executable, "--out-dir", out)
    uv("build", *options, folder, cwd=scratch, task=f"building {folder}")
    return read_wheel(next(out.glob("*.whl")))


def _unpack(requested: str, uv: Uv, scratch: Path) -> Distribution:
    """Let uv unpack a package from an index, a wheel's address or git into a folder of its own."""
    complaint = ""
    for version in ("", *PYTHONS):
        target = scratch / f"unpacked{version}"
        more = ["--python-version", version] if version else []
        done = uv.attempt(
            "pip", "install", "--no-deps", "--python", sys.executable, "--target", target, *more, requested, cwd=scratch
        )
        unpacked = list(distributions(path=[str(target)])) if done.returncode == 0 else []
        if len(unpacked) == 1:
            return unpacked[0]
        complaint = complaint or uv.explain(done.stderr)
        if "does not satisfy Python" not in done.stderr:
            break
    raise BuildError(f"{requested!r} cannot be fetched: {complaint} (expected {EXPECTED})")
