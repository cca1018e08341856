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
from pertharness.host.fetch.checksums import FirstUse, check, check_md5, record, recorded
from pertharness.host.fetch.download import PATIENCE, Patience, Progress, SourceError, download, take
from pertharness.host.fetch.kinds import check_kind, check_size, check_whole
from pertharness.host.fetch.lock import locked


class ByHandError(FetchError):
    """A file has to be brought with a browser: there is no address that gives it."""


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
        if again and place.source.by_hand:
            again = not _use_local(place, again=True)
        if not again and place.wanted.is_file() and recorded(place.wanted, place.folder):
            _checked(place, place.wanted)  # writes nothing: a shared folder may be read-only
            return place.wanted
        with locked(place.wanted.parent / ".lock"):
            if again or not _use_local(place):
                _bring(place, progress, patience, again=again)
    return place.wanted


def _use_local(place: Place, *, again: bool = False) -> bool:
    """Check and record a local file, fetched or put there by the user; return False if there is none.

    `again`: do not compare it with what was recorded.
    """
    paths = (place.download, place.wanted) if again else (place.wanted, place.download)
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return False
    digest = _checked(place, path, again=again)
    if path != place.wanted:
        _unpack(place, path, again=again)
    record(path, place.folder, sha256=digest, url=place.source.url)
    return True


def _bring(place: Place, progress: Progress | None, patience: Patience, *, again: bool) -> None:
    """Fetch, unpack and record a file; keep the old one until the new one is complete."""
    if place.source.by_hand:
        raise ByHandError(f"{place.source.filename!r} has no open direct link: {steps_by_hand(place)}")
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
    entry = None if again else recorded(place.download, place.folder)
    _check_file(place, new, subject=f"the file from {url}", entry=entry)
    digest = sha256_file(new)
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
    pinned = place.source.sha256 if path == place.download else None
    entry = None if again else recorded(path, place.folder)
    _check_file(place, path, subject=str(path), entry=entry)
    digest = sha256_file(path)
    check(digest, subject=str(path), name=place.name, command=place.command, pinned=pinned, entry=entry)
    return digest


def _check_file(place: Place, path: Path, *, subject: str, entry: FirstUse | None) -> None:
    """Check what a file is and, where neither card nor record has its sum, that it is whole and of about its size."""
    is_member = path == place.wanted != place.download
    suffix = (place.wanted if is_member else place.download).suffix
    advice = f"`{place.command} --again` fetches it again. {_by_hand(place)}"
    if place.source.by_hand:
        advice = f"bring it again: {steps_by_hand(place)}"
    check_kind(path, subject=subject, suffix=suffix, advice=advice)
    if entry is not None or (place.source.sha256 is not None and not is_member):
        return
    if not is_member and place.source.md5 is not None:
        check_md5(path, subject=subject, md5=place.source.md5, advice=advice)
    if not is_member:
        check_size(path, subject=subject, size_mb=place.source.size_mb, advice=advice)
    if is_member or place.wanted == place.download:  # an archive is checked when it is unpacked
        check_whole(path, subject=subject, suffix=suffix, advice=advice)


def steps_by_hand(place: Place) -> str:
    """Return what a user does to bring a file with a browser."""
    there = place.source.by_hand or "confirm what it asks, and save the file"
    return (
        f"open {place.source.url} in a browser; {there}; put the file, as {place.source.filename!r}, into the folder "
        f"{place.download.parent}; then `{place.command}` checks it and records its sha256"
    )


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
