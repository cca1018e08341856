"""The files of a fitted model: what they may be, and the archive that a record keeps them in."""

from __future__ import annotations

import shutil
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pertharness.contract.errors import ContractError
from pertharness.files.trees import walk
from pertharness.worker.refusals import Refuse

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time of all files in an archive, the first that the format has: the same files give the same archive."""
_PICKLES = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
"""First bytes of a pickle of the protocols 2 to 5."""
_PICKLED_MEMBERS = (".pkl", ".pickle")
_NUMPY = b"\x93NUMPY"
"""First bytes of an ``.npy`` file. Its header is a line of text, padded with blanks."""
_OBJECTS = b"'|O'"
"""In the header of an ``.npy`` file whose values, or those of a field of them, are pickled."""
_HEADER = 4096


def check_saved(folder: Path, refuse: Refuse) -> None:
    """Raise an error for a folder without files, with anything but files and folders, or with pickled objects."""
    number = 0
    for path, mode in _entries(folder):
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise refuse(f"left {path.name!r}, which is neither a file nor a folder; write plain files, no links")
        if stat.S_ISREG(mode):
            number += 1
            if _is_pickled(path):
                raise refuse(
                    f"wrote {path.name!r} as a pickle, which runs code when it is read; write JSON, CSV, h5ad, "
                    "safetensors, or .npy and .npz without objects"
                )
    if not number:
        raise refuse("left no file in 'folder'; write all that load_model needs there")


def pack_model(folder: Path, archive: Path, *, key: str = "") -> None:
    """Write all files of a folder to an archive: uncompressed, in the order of their names, without their times.

    The `key` of the job that fitted the model is the comment of the archive, so that a copy shows where it is from.
    """
    files = sorted((path for path, mode in _entries(folder) if stat.S_ISREG(mode)), key=lambda path: path.parts)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        packed.comment = key.encode()
        for path in files:
            member = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH)
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            member.file_size = path.stat().st_size  # decides on the long form of the header
            with path.open("rb") as source, packed.open(member, "w") as target:
                shutil.copyfileobj(source, target, 1 << 20)


def unpack_model(archive: Path, folder: Path) -> None:
    """Write the files of an archive below a folder.

    Raises
    ------
    ContractError
        If it is not such an archive, or one of its members is a link or would be written elsewhere; nothing is written
        then.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            members = packed.infolist()
            for member in members:
                _check_member(member)
            for member in members:
                target = folder.joinpath(*PurePosixPath(member.filename).parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(member) as source, target.open("xb") as written:
                    shutil.copyfileobj(source, written, 1 << 20)
    except (zipfile.BadZipFile, FileExistsError, NotADirectoryError) as error:
        raise ContractError(f"the archive {archive.name!r} of a model is damaged: {error}; fit it again") from None


def _check_member(member: zipfile.ZipInfo) -> None:
    """Raise an error for a member of an archive that is not a file below the folder."""
    path, mode = PurePosixPath(member.filename), member.external_attr >> 16
    is_inside = path.parts and not path.is_absolute() and ".." not in path.parts and "\\" not in member.filename
    if not is_inside or member.is_dir() or not stat.S_ISREG(mode):
        raise ContractError(
            f"the archive of a model holds {member.filename!r}; expected files below its folder, no links: fit it again"
        )


def _entries(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yield path and mode of all that is below a folder; links are not followed."""
    for entry in walk(folder):
        yield folder.joinpath(*entry.above, entry.name), entry.facts.st_mode


def _is_pickled(path: Path) -> bool:
    """Return whether a file is a pickle or, as archives of PyTorch and numpy may, holds one."""
    with path.open("rb") as file:
        head = file.read(_HEADER)
    if head.startswith(_PICKLES) or _has_objects(head):
        return True
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(_is_pickled_member(archive, member) for member in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError):  # not an archive after all, or one of another kind
        return False


def _is_pickled_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    if member.filename.endswith(_PICKLED_MEMBERS):
        return True
    if not member.filename.endswith(".npy"):
        return False
    with archive.open(member) as file:
        return _has_objects(file.read(_HEADER))


def _has_objects(head: bytes) -> bool:
    """Return whether the beginning of a file is that of an ``.npy`` file of objects."""
    return head.startswith(_NUMPY) and _OBJECTS in head[12:].partition(b"\n")[0]
