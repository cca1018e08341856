"""The folder of published files: available files are used, missing ones are fetched."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pertharness.contract.cards import RemoteFile
from pertharness.contract.errors import FetchError
from pertharness.files.full_disk import is_disk_full
from pertharness.files.whole import sha256_file
from pertharness.host.fetch.archive import extract_member
from pertharness.host.fetch.checksums import check, record, recorded
from pertharness.host.fetch.download import PATIENCE, Patience, Progress, SourceError, download, take
from pertharness.host.fetch.lock import locked

# What files of these names begin with: PKWARE APPNOTE 4.3.7, RFC 1952, HDF5 file format 3.0 (II.A).
_STARTS = {
    ".zip": b"PK",
    ".gz": b"\x1f\x8b",
    ".tgz": b"\x1f\x8b",
    ".h5ad": b"\x89HDF\r\n\x1a\n",
    ".h5": b"\x89HDF\r\n\x1a\n",
}


@dataclass(frozen=True)
class Place:
    """The paths of the files of one offer."""

    source: RemoteFile
    name: str
    folder: Path
    command: str
    """The command that fetches the files."""

    @property
    def download(self) -> Path:
        """The file as published."""
        return self.folder / self.name / self.source.filename

    @property
    def wanted(self) -> Path:
        """The file that a job reads: the member of the archive, or the download itself."""
        return self.folder / self.name / self.source.wanted


def default_folder() -> Path:
    """Return the folder of published files: ``PERTHARNESS_DATA``, else the user's data folder."""
    from platformdirs import user_data_path

    configured = os.environ.get("PERTHARNESS_DATA")
    return Path(configured).expanduser() if configured else user_data_path("pertharness") / "data"


def place_of(source: RemoteFile, name: str, folder: Path, command: str = "") -> Place:
    """Return the paths of an offer's files; `command` fetches them, by default ``pertharness data fetch``.

    Raises
    ------
    FetchError
        A name would lead out of the folder.
    """
    for part in (*name.split("/"), source.filename, source.member):  # an offer may be called plugin/name
        if part is not None and (part.startswith(".") or "/" in part or "\\" in part or not part.strip()):
            raise FetchError(f"offer {name!r}: {part!r} is not a plain file name; correct the plugin's card")
    return Place(source, name, folder.absolute(), command or f"pertharness data fetch {name}")


def local_file(source: RemoteFile, name: str, folder: Path) -> Path | None:
    """Return the local file, None if it is missing; fetch, unpack and check nothing."""
    path = place_of(source, name, folder).wanted
    return path if path.is_file() else None


def fetch(
    source: RemoteFile, *, name: str, folder: Path, progress: Progress | None = None, again: bool = False,
    patience: Patience = PATIENCE, command: str = "",
) -> Path:  # fmt: skip
    """Return the checked local file; fetch and unpack it if it is missing.

    Parameters
    ----------
    source
        What to fetch.
    name
        The offer: its files lie in ``folder/name``.
    folder
        Folder of published files, see `default_folder`.
    progress
        Called with the bytes that are there and the bytes of the whole file, None where unknown.
    again
        Fetch even if the file is there, and record what comes in place of what was recorded.
    patience
        How often and how long to try.
    command
        Command that messages name for fetching; else ``pertharness data fetch``.

    Raises
    ------
    FetchError
        The file was not brought, is not the expected one, cannot be unpacked or cannot be written.
    """
    place = place_of(source, name, folder, command)
    with _disk_explained(place):
        if not again and place.wanted.is_file() and recorded(place.wanted, place.folder):
            _checked(place, place.wanted)  # writes nothing: a shared folder may be read-only
            return place.wanted
        with locked(place.wanted.parent / ".lock"):
            if again or not _use_local(place):
                _bring(place, progress, patience, again=again)
    return place.wanted


def _use_local(place: Place) -> bool:
    """Check and record a local file, fetched or put there by the user; return False if there is none."""
    path = next((path for path in (place.wanted, place.download) if path.is_file()), None)
    if path is None:
        return False
    digest = _checked(place, path)
    if path != place.wanted:
        _unpack(place, path, again=False)
    record(path, place.folder, sha256=digest, url=place.source.url)
    return True


def _bring(place: Place, progress: Progress | None, patience: Patience, *, again: bool) -> None:
    """Fetch, unpack and record a file; keep the old one until the new one is complete."""
    new = place.download.with_name(f"{place.download.name}.new")
    new.unlink(missing_ok=True)
    try:
        digest = _retrieve(place, new, progress, patience, again=again)
        if place.wanted != place.download:
            _unpack(place, new, again=again)
        new.replace(place.download)
    finally:
        new.unlink(missing_ok=True)
    record(place.download, place.folder, sha256=digest, url=place.source.url)


def _retrieve(place: Place, new: Path, progress: Progress | None, patience: Patience, *, again: bool) -> str:
    """Download the file to `new`, check it, and return its sha256."""
    url = place.source.url
    part = place.download.with_name(f"{place.download.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        download(url, part, patience=patience, progress=progress)
    except ImportError as error:
        raise FetchError(
            f"fetching {place.name!r} needs a package that is not installed ({error}); "
            f"pip install 'pertharness[fetch]', or put the file there yourself. {_by_hand(place)}"
        ) from error
    except SourceError as error:
        raise FetchError(f"{error}\n{_by_hand(place)}") from error
    take(part, new)
    _check_kind(new, subject=f"the file from {url}", suffix=place.download.suffix)
    digest = sha256_file(new)
    entry = None if again else recorded(place.download, place.folder)
    check(digest, subject=url, name=place.name, command=place.command, pinned=place.source.sha256, entry=entry)
    return digest


def _unpack(place: Place, archive: Path, *, again: bool) -> None:
    """Unpack the wanted member, check it against its recorded sum, and record it."""
    assert place.source.member is not None
    try:
        extract_member(archive, place.source.member, place.wanted)
    except FetchError as error:
        raise FetchError(
            f"{place.name!r} cannot be unpacked: {error}\n`{place.command} --again` fetches the "
            f"archive again; or put a good copy there. {_by_hand(place)}"
        ) from error
    digest = _checked(place, place.wanted, again=again)
    record(place.wanted, place.folder, sha256=digest, url=place.source.url)


def _checked(place: Place, path: Path, *, again: bool = False) -> str:
    """Check a local file and return its sha256; `again`: do not compare with the recorded sum."""
    _check_kind(path, subject=str(path), suffix=path.suffix)
    digest = sha256_file(path)
    pinned = place.source.sha256 if path == place.download else None
    entry = None if again else recorded(path, place.folder)
    check(digest, subject=str(path), name=place.name, command=place.command, pinned=pinned, entry=entry)
    return digest


def _check_kind(path: Path, *, subject: str, suffix: str) -> None:
    """Raise an error if the first bytes of a file do not fit its suffix."""
    expected = _STARTS.get(suffix.lower(), b"")
    with path.open("rb") as file:
        head = file.read(60)
    if not head or not head.startswith(expected):
        came = f"begins with {head!r}" if head else "is empty"
        raise FetchError(f"{subject} is not a {suffix or 'data'} file: it {came} ({path.stat().st_size} bytes)")


def _by_hand(place: Place) -> str:
    """Return the advice on putting a file there by hand."""
    unpacked = "" if place.wanted == place.download else f" or, unpacked, as {place.wanted}"
    return f"To continue without a download, save {place.source.url} as {place.download}{unpacked}, then rerun."


@contextlib.contextmanager
def _disk_explained(place: Place) -> Iterator[None]:
    """Turn a disk error into a message; keep the bytes received so far."""
    try:
        yield
    except OSError as error:
        choice = "or choose another folder with PERTHARNESS_DATA"
        if is_disk_full(error):
            existing = next(path for path in (place.folder, *place.folder.parents) if path.exists())
            free = shutil.disk_usage(existing).free
            raise FetchError(
                f"the disk is full: {error.strerror or error} while fetching {place.name!r} to {place.folder} "
                f"({free} bytes free); the part that was fetched is kept. Free some disk space {choice}, then "
                "rerun to resume"
            ) from error
        raise FetchError(
            f"{error.filename or place.folder}: {error.strerror or error}, while fetching {place.name!r}; "
            f"make the folder writable {choice}"
        ) from error
