"""Bringing a plugin that somebody names: from a folder, a wheel, git or an index, as a wheel and never imported."""

from __future__ import annotations

import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

from pertharness.contract.errors import BuildError
from pertharness.contract.protocol import PROJECT
from pertharness.host.environments.asked import (
    NAME,
    WANTED,
    check_address,
    check_asked,
    check_requirement,
    is_address,
)
from pertharness.host.environments.folder import Folder
from pertharness.host.environments.pyproject import names_plugin
from pertharness.host.environments.pythons import PYTHONS
from pertharness.host.environments.uv import Uv
from pertharness.host.environments.wheels import Wheel, pack_installed, read_wheel


def resolve(asked: str, folder: Folder, base: Path) -> str:
    """Return what is meant by a name: the plugin of an environment, of a folder ``plugins/NAME``, of an index.

    A path becomes absolute, so that it is found again from another folder.
    """
    check_asked(asked)
    if is_address(asked):
        address = asked if asked.startswith("git+") or not asked.endswith(".git") else f"git+{asked}"
        check_address(address, asked)
        return address
    if "://" in asked:
        check_requirement(asked)
        return asked
    path = (base / Path(asked).expanduser()).absolute()
    if path.is_file() or (path / "pyproject.toml").is_file():
        return str(path)
    if path.is_dir() or "/" in asked or asked.endswith(".whl"):
        wanted = "there is no such file or folder" if not path.is_dir() else "there is no pyproject.toml in this folder"
        raise BuildError(f"{str(path)!r}: {wanted}; expected the folder of a plugin, or its wheel")
    if not NAME.fullmatch(asked):
        check_requirement(asked)  # such as pertharness-cpa>=1
        return asked
    if (known := folder.last(asked)) is not None:
        return known.asked
    if names_plugin(base / "plugins" / asked, asked):
        return str((base / "plugins" / asked).absolute())
    return asked if asked.startswith(f"{PROJECT}-") else f"{PROJECT}-{asked.replace('_', '-')}"


def bring(asked: str, uv: Uv, scratch: Path) -> Wheel:
    """Return the wheel of a plugin; `asked` is what `resolve` gave.

    Raises
    ------
    BuildError
        If it cannot be had, with what uv says and what to do.
    """
    path = Path(asked)
    if path.is_absolute() and path.is_file():
        return read_wheel(path)
    if path.is_absolute():
        out = scratch / "wheel"
        uv(
            "build",
            "--wheel",
            "--python",
            sys.executable,
            "--out-dir",
            out,
            path,
            cwd=scratch,
            what=f"building {asked}",
        )
        return read_wheel(next(out.glob("*.whl")))
    return read_wheel(pack_installed(_unpack(asked, uv, scratch), scratch / "packed"))


def _unpack(asked: str, uv: Uv, scratch: Path) -> Distribution:
    """Have uv unpack what comes from an index, a wheel's address or git into a folder of its own."""
    said = ""
    for version in ("", *PYTHONS):
        target = scratch / f"unpacked{version}"
        more = ["--python-version", version] if version else []
        done = uv.attempt(
            "pip", "install", "--no-deps", "--python", sys.executable, "--target", target, *more, asked, cwd=scratch
        )
        found = list(distributions(path=[str(target)])) if done.returncode == 0 else []
        if len(found) == 1:
            return found[0]
        said = said or uv.explain(done.stderr)
        if "does not satisfy Python" not in done.stderr:
            break
    raise BuildError(f"{asked!r} cannot be brought: {said} (expected {WANTED})")
