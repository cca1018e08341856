"""The marker of a store: a file with its format and its secret, made with the store."""

from __future__ import annotations

import functools
import json
import secrets
from collections.abc import Iterable
from pathlib import Path

from pertharness.contract.errors import StoreError
from pertharness.files.whole import write_text

MARKER = "store.json"


def keep_marker(root: Path, stages: Iterable[str], number: int) -> None:
    """Make the marker of a store if it is absent, or if it is damaged and the store has no records.

    Parameters
    ----------
    root
        Folder of the store.
    stages
        Names of the folders of its records.
    number
        The format of a new store.

    Raises
    ------
    StoreError
        If the marker is a folder, or is damaged while the store has records, whose format is then unknown.
    OSError
        If the marker cannot be read or written.
    """
    marker = root / MARKER
    if _is_whole(marker):
        if json.loads(marker.read_bytes()) == {"format": number}:  # made by a version without a secret
            _write(marker, number)
        return
    if marker.is_dir():
        raise StoreError(f"{str(marker)!r} is a folder; expected the file that names the format: remove it")
    has_records = any((root / stage).is_dir() and any((root / stage).iterdir()) for stage in stages)
    if marker.exists() and has_records:
        raise StoreError(
            f"{str(marker)!r} is damaged: it holds {_beginning(marker)!r}, expected {_text(number)!r}. If no other "
            "version of pertharness has used this store, delete that file, and it is made again; otherwise name "
            "another store with --store"
        )
    _write(marker, number)


@functools.lru_cache(maxsize=64)
def _secret_of(marker: Path, _: int) -> bytes:
    try:
        return bytes.fromhex(json.loads(marker.read_bytes()).get("secret", ""))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return b""


def read_secret(root: Path) -> bytes:
    """Return the secret for names of work folders, 16 bytes; empty for a store without one."""
    marker = root / MARKER
    try:
        return _secret_of(marker, marker.stat().st_mtime_ns)
    except OSError:
        return b""


def _write(marker: Path, number: int) -> None:
    write_text(marker, json.dumps({"format": number, "secret": secrets.token_hex(16)}) + "\n")


def _text(number: int) -> str:
    return json.dumps({"format": number})


def _is_whole(marker: Path) -> bool:
    """Return whether the file has a format, of any version."""
    try:
        content = json.loads(marker.read_bytes())
    except (FileNotFoundError, IsADirectoryError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and type(content.get("format")) is int


def _beginning(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(60).decode("utf-8", "backslashreplace")
