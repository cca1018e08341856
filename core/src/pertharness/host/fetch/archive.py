"""Archives: unpack one file of a zip or tar, safely."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from pertharness.contract.errors import FetchError
from pertharness.files.whole import replacing

LARGEST_RATIO = 200
"""Largest ratio of sizes. Deflate reaches 1032:1 only on zeros; expression matrices stay below 50:1."""
_SMALL = 1 << 20
"""Sizes below this are never refused for their ratio."""
_PIECE = 1 << 20
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError,
)  # fmt: skip


@dataclass(frozen=True)
class _Entry:
    """One entry of an archive, of either kind."""

    path: str
    size: int
    is_folder: bool
    fault: str | None
    """Why an archive with such an entry is refused."""
    open: Callable[[], IO[bytes]]


def extract_member(archive: Path, member: str, target: Path) -> None:
    """Write the file named `member` in `archive`, in whatever folder there, to `target`, whole or not at all.

    Only that file's bytes are written, to a name of ours; an archive that holds anything unsafe is refused as a whole.

    Raises
    ------
    FetchError
        Not a zip or tar, damaged, unsafe, or `member` is not in it exactly once.
    OSError
        `target` cannot be written.
    """
    try:
        with _opened(archive) as entries:
            entry = _find(entries, member, archive)
            _require_room(entry, archive, target)
            with replacing(target) as temporary, entry.open() as source, temporary.open("wb") as out:
                _copy(source, out, entry, archive)
    except _DAMAGE as error:
        raise FetchError(f"{archive} is damaged or cut short: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[Iterable[_Entry]]:
    """Open a zip or tar by its content, not its name."""
    if tarfile.is_tarfile(archive):  # first: a tar may end with a zip, but a zip does not begin like a tar
        with tarfile.open(archive) as opened_tar:
            yield (_of_tar(opened_tar, info) for info in opened_tar)
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened_zip:
            yield (_of_zip(opened_zip, info) for info in opened_zip.infolist())
    else:
        with archive.open("rb") as file:
            head = file.read(40)
        raise FetchError(f"{archive} is not a complete zip or tar file; it begins with {head!r}")


def _of_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Entry:
    kind = stat.S_IFMT(info.external_attr >> 16)
    fault = _path_fault(info.filename)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        fault = "is a link or a device"
    elif info.flag_bits & 0x1:
        fault = "is encrypted"
    return _Entry(_posix(info.filename), info.file_size, info.is_dir(), fault, lambda: archive.open(info))


def _of_tar(archive: tarfile.TarFile, info: tarfile.TarInfo) -> _Entry:
    fault = _path_fault(info.name) if info.isreg() or info.isdir() else "is a link or a device"

    def opened() -> IO[bytes]:
        file = archive.extractfile(info)
        assert file is not None  # a regular file: all others have a fault
        return file

    return _Entry(_posix(info.name), info.size, info.isdir(), fault, opened)


def _posix(path: str) -> str:
    return path.replace("\\", "/")


def _path_fault(path: str) -> str | None:
    parts = PurePosixPath(_posix(path)).parts
    if parts and (parts[0].startswith("/") or parts[0].endswith(":")):
        return "has an absolute path"
    return "leads out of its folder" if ".." in parts else None


def _find(entries: Iterable[_Entry], member: str, archive: Path) -> _Entry:
    """Check all entries and return the only one with that file name."""
    limit = max(_SMALL, LARGEST_RATIO * archive.stat().st_size)
    files: list[_Entry] = []
    total = 0
    for entry in entries:
        if entry.fault:
            raise FetchError(f"{archive} is refused: its entry {entry.path!r} {entry.fault}")
        total += entry.size
        if total > limit:
            raise FetchError(
                f"{archive} is refused: it would unpack to more than {LARGEST_RATIO} times its size, "
                f"up to {entry.path!r} {total} bytes"
            )
        if not entry.is_folder:
            files.append(entry)
    matching = [entry for entry in files if PurePosixPath(entry.path).name == member]
    if len(matching) != 1:
        shown = ", ".join(repr(entry.path) for entry in (matching or files)[:20]) or "nothing"
        amount = "no" if not matching else str(len(matching))
        raise FetchError(f"{archive} holds {amount} file named {member!r}, expected one; it holds {shown}")
    return matching[0]


def _require_room(entry: _Entry, archive: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if entry.size > free:
        raise FetchError(
            f"{entry.path!r} of {archive} needs {entry.size} bytes, {target.parent} has {free} free; "
            "free some disk space and rerun"
        )


def _copy(source: IO[bytes], out: IO[bytes], entry: _Entry, archive: Path) -> None:
    """Copy an entry, at most the size that it declares."""
    written = 0
    while piece := source.read(_PIECE):
        written += len(piece)
        if written > entry.size:
            break
        out.write(piece)
    if written != entry.size:
        raise FetchError(
            f"{archive} is damaged or hostile: {entry.path!r} does not have its declared size {entry.size}"
        )
