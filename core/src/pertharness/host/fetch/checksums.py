"""Checksums: specified by the offer, or recorded when a file is first used, and checked from then on."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pertharness.contract.errors import FetchError
from pertharness.files.whole import md5_file, write_text
from pertharness.host.fetch.lock import locked

FILE_NAME = "checksums.json"


class FirstUse(BaseModel):
    """The state of a file when it was first used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    size: int
    url: str
    date: str


class _Checksums(BaseModel):
    """The content of ``checksums.json``: path relative to its folder -> entry."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    files: dict[str, FirstUse] = {}


def _read(folder: Path) -> _Checksums:
    path = folder / FILE_NAME
    try:
        return _Checksums.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return _Checksums()
    except (ValidationError, UnicodeDecodeError) as error:
        raise FetchError(
            f"{path} is not a list of checksums of format 1: {error}; "
            "restore it, or delete it; all sums are then recorded again at the next use"
        ) from error


def recorded(path: Path, folder: Path) -> FirstUse | None:
    """Return the entry of the file `path` below `folder`, or None.

    Raises
    ------
    FetchError
        ``checksums.json`` cannot be understood.
    """
    return _read(folder).files.get(path.relative_to(folder).as_posix())


def record(path: Path, folder: Path, *, sha256: str, url: str) -> None:
    """Record the file `path` below `folder`; an entry with the same sum stays unchanged."""
    key = path.relative_to(folder).as_posix()
    with locked(folder / f".{FILE_NAME}.lock"):
        checksums = _read(folder)
        if key in checksums.files and checksums.files[key].sha256 == sha256:
            return
        date = datetime.now(timezone.utc).isoformat(timespec="seconds")
        entry = FirstUse(sha256=sha256, size=path.stat().st_size, url=url, date=date)
        files = {**checksums.files, key: entry}
        text = checksums.model_copy(update={"files": dict(sorted(files.items()))}).model_dump_json(indent=2)
        write_text(folder / FILE_NAME, text + "\n")


def check_md5(path: Path, *, subject: str, md5: str, advice: str) -> None:
    """Compare a file with the md5 that was published for it; `subject` names the file in the message.

    Raises
    ------
    FetchError
        The sums differ.
    """
    if (digest := md5_file(path)) != md5.lower():
        raise FetchError(f"{subject} is not the expected file: its md5 is {digest}, expected {md5.lower()}; {advice}")


def check(digest: str, *, subject: str, name: str, command: str, pinned: str | None, entry: FirstUse | None) -> None:
    """Compare a sum with the specified one or, if none is specified, with the recorded one.

    `subject` names the file in the message, `name` the offer, and `command` fetches the file.

    Raises
    ------
    FetchError
        The sums differ.
    """
    if pinned is not None and digest != pinned.lower():
        raise FetchError(
            f"{subject} is not the expected file: its sha256 is {digest}, the offer {name!r} expects {pinned.lower()}; "
            f"`{command} --again` fetches it again. If its sha256 is the same, the published file "
            "has changed: look for a newer version of the plugin that offers it"
        )
    if pinned is None and entry is not None and digest != entry.sha256:
        raise FetchError(
            f"{subject} has changed: its sha256 is {digest}; on {entry.date} it was {entry.sha256}; "
            f"`{command} --again` fetches the published file again and records its sha256"
        )
