"""Wheels: read without installing, written from what is installed, this package's worker side among them."""

from __future__ import annotations

import base64
import hashlib
import re
import zipfile
from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as PointsError
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from pertharness.contract.errors import BuildError
from pertharness.contract.protocol import PROJECT
from pertharness.files.whole import canonical_json, sha256_text
from pertharness.host.environments.asked import DISTRIBUTION
from pertharness.host.packages.fingerprint import WORKER_SIDE
from pertharness.version import __version__

HOST_ONLY = frozenset({"click", "jinja2", "packaging", "platformdirs", "rich", "tomli", "tomli-w", "uv"})
"""What only the host side imports: a worker's environment need not have it."""
_LEFT_OUT = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]*")
_STAMP = (2020, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Wheel:
    """A wheel and what it says of itself.

    Attributes
    ----------
    content
        sha256 over names and contents of its files.
    plugins
        Name -> module, of its entry points.
    """

    path: Path
    distribution: str
    version: str
    requires_python: str
    requires: tuple[str, ...]
    plugins: Mapping[str, str]
    content: str

    def read(self, name: str) -> str | None:
        """Return a text file of the wheel, None where it has no such file.

        Raises
        ------
        BuildError
            If it is not UTF-8.
        """
        with zipfile.ZipFile(self.path) as archive:
            found = archive.read(name) if name in archive.namelist() else None
        return None if found is None else decoded(found, f"{self.path.name}: {name}")


def decoded(content: bytes, where: str) -> str:
    """Return the text of a file in UTF-8, with or without the mark that some editors put before it.

    Raises
    ------
    BuildError
        If it is in another encoding.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BuildError(
            f"{where} is not UTF-8: it begins with {content[:8]!r} (PowerShell's > writes UTF-16); save it as UTF-8, "
            "or delete it and make it anew: pertharness env lock PATH"
        ) from None


def read_wheel(path: Path) -> Wheel:
    """Read a wheel.

    Raises
    ------
    BuildError
        If it is no wheel, or a damaged one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            info = next(name[: -len("METADATA")] for name in archive.namelist() if _is_metadata(name))
            metadata: Message = HeaderParser().parsestr(archive.read(f"{info}METADATA").decode("utf-8"))
            points = f"{info}entry_points.txt"
            text = archive.read(points).decode("utf-8") if points in archive.namelist() else ""
            files = {
                name: hashlib.sha256(archive.read(name)).hexdigest()
                for name in sorted(archive.namelist())
                if not name.startswith(info) or name == points or name.endswith("/METADATA")
            }
        parser = ConfigParser(delimiters=("=",), interpolation=None)
        parser.optionxform = str  # type: ignore[assignment, method-assign]
        parser.read_string(text)
    except (OSError, zipfile.BadZipFile, StopIteration, UnicodeDecodeError, PointsError) as error:
        raise BuildError(f"{str(path)!r} is not a whole wheel: {str(error) or 'it has no METADATA'}") from None
    plugins = {name: value.split("[")[0].strip() for name, value in parser.items(PROJECT)} if PROJECT in parser else {}
    return Wheel(
        path, str(metadata["Name"]), str(metadata["Version"]), str(metadata["Requires-Python"] or ""),
        tuple(metadata.get_all("Requires-Dist") or ()), plugins, sha256_text(canonical_json(files)),
    )  # fmt: skip


def _is_metadata(name: str) -> bool:
    return name.endswith(".dist-info/METADATA") and name.count("/") == 1


def pack_installed(found: Distribution, folder: Path) -> Path:
    """Write the wheel of a distribution that lies unpacked in a folder; scripts are made anew where it is installed."""
    files: dict[str, bytes] = {}
    info: dict[str, bytes] = {}
    for name in found.files or []:
        parts = name.parts
        if parts[0] in ("..", "bin") or "__pycache__" in parts:
            continue
        content = Path(str(found.locate_file(name))).read_bytes()
        if parts[0].endswith(".dist-info"):
            info["/".join(parts[1:])] = content
        else:
            files["/".join(parts)] = content
    return write_wheel(folder, found.name, found.version, files, info)


def core_wheel(folder: Path) -> Path:
    """Write a wheel of the running harness for a worker: its very files, without the host side and its requirements.

    It needs no source tree and no network, and is the same whether the harness is installed for editing or not.
    """
    files = {
        f"pertharness/{path.relative_to(WORKER_SIDE).as_posix()}": path.read_bytes() for path in core_files()
    }  # fmt: skip
    metadata = ["Metadata-Version: 2.1", f"Name: {PROJECT}", f"Version: {__version__}"]
    metadata += [f"Requires-Python: {text}"] if (text := requires_python()) else []
    metadata += [f"Requires-Dist: {text}" for text in worker_requirements()]
    return write_wheel(folder, PROJECT, __version__, files, {"METADATA": "\n".join([*metadata, ""]).encode()})


def core_files() -> list[Path]:
    """Return the files of this package that a worker's environment gets."""
    return [
        path
        for path in sorted(WORKER_SIDE.rglob("*"))
        if path.is_file() and not {"host", "__pycache__"} & {*path.relative_to(WORKER_SIDE).parts}
    ]


def worker_requirements() -> list[str]:
    """Return what the worker side requires: this package's requirements without those of the host side."""
    said = _own().requires or []
    return [text for text in said if "extra ==" not in text and requirement_name(text) not in HOST_ONLY]


def requires_python() -> str:
    """Return the versions of Python that this package is for, a worker's included."""
    return str(_own().metadata["Requires-Python"] or "")


def _own() -> Distribution:
    try:
        return distribution(PROJECT)
    except PackageNotFoundError:
        raise BuildError("pertharness itself is not installed; pip install it") from None


def requirement_name(text: str) -> str:
    """Return the normalised name that a requirement asks for; empty if it is none."""
    try:
        return normal_name(Requirement(text).name)
    except InvalidRequirement:
        return ""


def normal_name(name: str) -> str:
    """Return the one spelling of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def write_wheel(folder: Path, name: str, version: str, files: Mapping[str, bytes], info: Mapping[str, bytes]) -> Path:
    """Write a wheel whose bytes depend on its content alone (PEP 427).

    Raises
    ------
    BuildError
        If name or version are none, as a path that leads elsewhere.
    """
    if not DISTRIBUTION.fullmatch(name) or not _VERSION.fullmatch(version):
        raise BuildError(f"a package of the name {name!r} and version {version!r} cannot be one; correct its metadata")
    stem = f"{re.sub(r'[-_.]+', '_', name)}-{version}"
    usual = b"Wheel-Version: 1.0\nGenerator: pertharness\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    kept = {"WHEEL": usual} | {key: value for key, value in info.items() if key not in _LEFT_OUT}
    tags = re.findall(r"^Tag: ([\w.]+-[\w.]+-[\w.]+)\s*$", kept["WHEEL"].decode(), re.MULTILINE) or ["py3-none-any"]
    path = folder / f"{stem}-{tags[0]}.whl"
    content = {**files, **{f"{stem}.dist-info/{key}": value for key, value in kept.items()}}
    record = [f"{key},sha256={_digest(value)},{len(value)}" for key, value in content.items()]
    content[f"{stem}.dist-info/RECORD"] = "\n".join([*record, f"{stem}.dist-info/RECORD,,", ""]).encode()
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, value in content.items():
            entry = zipfile.ZipInfo(key, _STAMP)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, value)
    return path


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
