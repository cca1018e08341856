"""Licences of published files: which restrict use, and which the user has accepted."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pertharness.contract.cards import RemoteFile
from pertharness.contract.errors import FetchError
from pertharness.files.whole import write_text
from pertharness.host.fetch.lock import locked

FILE_NAME = "licences.json"
OPEN = re.compile(
    r"CC0(-1\.0)?|CC-BY(-SA)?-[1-4]\.0|PDDL-1\.0|ODC-BY-1\.0|ODBL-1\.0|PUBLIC-DOMAIN|UNLICENSE|0BSD|ISC|MIT|APACHE-2\.0"
    r"|BSD-[23]-CLAUSE|MPL-2\.0|(A|L)?GPL-[23]\.[01](-ONLY|-OR-LATER)?"
)
"""SPDX identifiers (spdx.org/licenses) of licences that let anyone use a file for any purpose."""


class Confirmation(BaseModel):
    """A licence that the user accepted, and when."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    licence: str
    date: str


class _Confirmed(BaseModel):
    """The content of ``licences.json``: address of the file -> confirmation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    files: dict[str, Confirmation] = {}


def restricts(licence: str) -> bool:
    """Return whether a licence may restrict use: all except known open licences, including ``unknown``."""
    return not OPEN.fullmatch(re.sub(r"\s+", "-", licence.strip()).upper())


def has_to_be_confirmed(file: RemoteFile, folder: Path) -> bool:
    """Return whether a file's licence restricts use and has not been accepted in these words.

    Raises
    ------
    FetchError
        ``licences.json`` in `folder` cannot be understood.
    """
    if not restricts(file.licence):
        return False
    confirmation = _read(folder).files.get(file.url)
    return confirmation is None or confirmation.licence != file.licence


def confirm(file: RemoteFile, folder: Path) -> None:
    """Record that the user accepted a file's licence, unless that is recorded already."""
    if not has_to_be_confirmed(file, folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / f".{FILE_NAME}.lock"):
        confirmed = _read(folder)
        date = datetime.now(timezone.utc).isoformat(timespec="seconds")
        files = {**confirmed.files, file.url: Confirmation(licence=file.licence, date=date)}
        text = confirmed.model_copy(update={"files": dict(sorted(files.items()))}).model_dump_json(indent=2)
        write_text(folder / FILE_NAME, text + "\n")


def _read(folder: Path) -> _Confirmed:
    path = folder / FILE_NAME
    try:
        return _Confirmed.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return _Confirmed()
    except (ValidationError, UnicodeDecodeError) as error:
        raise FetchError(
            f"{path} is not a list of confirmed licences of format 1: {error}; "
            "restore it, or delete it and confirm again"
        ) from error
