"""Read wheels without installing them, and write wheels of installed packages and of this package's worker side."""

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
from pertharness.host.environments.request_checks import DISTRIBUTION
from pertharness.host.packages.fingerprint import HOST_ONLY, WORKER_SIDE
from pertharness.version import __version__

_LEFT_OUT = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]*")
_STAMP = (2020, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Wheel:
    """A wheel and its metadata.

    Attributes
    ----------
    content
        sha256 over the names and contents of its files.
    plugins
        Name -> module, from its entry points.
    """

    path: Path
    distribution: str
    version: str
    requires_python: str
    requires: tuple[str, ...]
    plugins: Mapping[str, str]
    content: str

    def read(self, name: str) -> str | None:
        """Return a text file of the wheel; None if it is absent.

        Raises
        ------
        BuildError
            If it is not UTF-8.
        """
        with zipfile.ZipFile(self.path) as archive:
            content = archive.read(name) if name in archive.namelist() else None
        return None if content is None else decoded(content, f"{self.path.name}: {name}")


def decoded(content: bytes, where: str) -> str:
    """Decode a file in UTF-8, with or without a byte order mark.

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
            "or delete it and make it again: pertharness env lock PATH"
        ) from None


def read_wheel(path: Path) -> Wheel:
    """Read a wheel.

    Raises
    ------
    BuildError
        If it is not a wheel, or is damaged.
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
        raise BuildError(f"{str(path)!r} is not a complete wheel: {str(error) or 'it has no METADATA'}") from None
    plugins = {name: value.split("[")[0].strip() for name, value in parser.items(PROJECT)} if PROJECT in parser else {}
    return Wheel(
        path, str(metadata["Name"]), str(metadata["Version"]), str(metadata["Requires-Python"] or ""),
        tuple(metadata.get_all("Requires-Dist") or ()), plugins, sha256_text(canonical_json(files)),
    )  # fmt: skip


def _is_metadata(name: str) -> bool:
    return name.endswith(".dist-info/METADATA") and name.count("/") == 1


def pack_installed(unpacked: Distribution, folder: Path) -> Path:
    """Write the wheel of an unpacked distribution, without scripts, which its installation makes again."""
    files: dict[str, bytes] = {}
    info: dict[str, bytes] = {}
    for name in unpacked.files or []:
        parts = name.parts
        if parts[0] in ("..", "bin") or "__pycache__" in parts:
            continue
        content = Path(str(unpacked.locate_file(name))).read_bytes()
        if parts[0].endswith(".dist-info"):
            info["/".join(parts[1:])] = content
        else:
            files["/".join(parts)] = content
    return write_wheel(folder, unpacked.name, unpacked.version, files, info)


def core_wheel(folder: Path) -> Path:
    """Write a wheel of the running harness for a worker: its files without the host side and its requirements.

    This needs no source tree and no network. The wheel is the same for an editable and a normal installation.
    """
    files = {
        f"pertharness/{path.relative_to(WORKER_SIDE).as_posix()}": path.read_bytes() for path in core_files()
    }  # fmt: skip
    metadata = ["Metadata-Version: 2.1", f"Name: {PROJECT}", f"Version: {__version__}"]
    metadata += [f"Requires-Python: {text}"] if (text := requires_python()) else []
    metadata += [f"Requires-Dist: {text}" for text in worker_requirements()]
    return write_wheel(folder, PROJECT, __version__, files, {"METADATA": "\n".join([*metadata, ""]).encode()})


def core_files() -> list[Path]:
    """Return the files of this package for a worker's environment."""
    return [
        path
        for path in sorted(WORKER_SIDE.rglob("*"))
        if path.is_file() and not {"host", "__pycache__"} & {*path.relative_to(WORKER_SIDE).parts}
    ]


def worker_requirements() -> list[str]:
    """Return the requirements of the worker side: those of this package without those of the host side."""
    requirements = _own().requires or []
    return [text for text in requirements if "extra ==" not in text and requirement_name(text) not in HOST_ONLY]


def requires_python() -> str:
    """Return the range of Python versions that this package supports, on the worker side too."""
    return str(_own().metadata["Requires-Python"] or "")


def _own() -> Distribution:
    try:
        return distribution(PROJECT)
    except PackageNotFoundError:
        raise BuildError("pertharness itself is not installed; pip install it") from None


def requirement_name(text: str) -> str:
    """Return the normalised name in a requirement; empty if it is not a requirement."""
    try:
        return normal_name(Requirement(text).name)
    except InvalidRequirement:
        return ""


def normal_name(name: str) -> str:
    """Return the normalised name of a distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def write_wheel(folder: Path, name: str, version: str, files: Mapping[str, bytes], info: Mapping[str, bytes]) -> Path:
    """Write a wheel (PEP 427) whose bytes depend on its content alone.

    Raises
    ------
    BuildError
        If name or version is invalid, such as a path that leaves the folder.
    """
    if not DISTRIBUTION.fullmatch(name) or not _VERSION.fullmatch(version):
        raise BuildError(f"a package of the name {name!r} and version {version!r} cannot be one; correct its metadata")
    stem = f"{re.sub(r'[-_.]+', '_', name)}-{version}"
    default_tags = b"Wheel-Version: 1.0\nGenerator: pertharness\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    info_files = {"WHEEL": default_tags} | {key: value for key, value in info.items() if key not in _LEFT_OUT}
    tags = re.findall(r"^Tag: ([\w.]+-[\w.]+-[\w.]+)\s*$", info_files["WHEEL"].decode(), re.MULTILINE) or [
        "py3-none-any"
    ]
    path = folder / f"{stem}-{tags[0]}.whl"
    content = {**files, **{f"{stem}.dist-info/{key}": value for key, value in info_files.items()}}
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
