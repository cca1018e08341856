"""Tell what a downloaded file is by its content, before anything reads it as weights or as a dictionary."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pertharness import DataError, RemoteFile, Skip

Kind = Literal["torch", "legacy torch", "safetensors", "pickle"]
_HEAD = 4096
_LEGACY_TORCH = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
"""The number that `torch.save` of before torch 1.6 begins with, as a pickle writes it."""
_POINTERS = (b"version https://git-lfs.github.com/", b"/annex/objects/", b"../.git/annex/")


class CheckpointError(DataError):
    """A file is not the published checkpoint or dictionary, or does not fit the model."""


def kind_of(path: Path) -> Kind:
    """Return the format of a file of weights or of a pickled dictionary.

    Raises
    ------
    CheckpointError
        If it is absent, empty, truncated, a web page, a pointer of git in the place of the file, or none of these.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise CheckpointError(f"{path.name}: {error.strerror or error}; expected a file at {str(path)!r}") from None
    if not head.strip(b"\0"):
        raise CheckpointError(f"{path.name} is empty ({size} bytes): its download did not finish; fetch it again")
    check_no_page(path.name, head)
    if head.startswith(b"PK\x03\x04"):
        if not zipfile.is_zipfile(path):
            raise CheckpointError(
                f"{path.name} is the beginning of a torch file: it ends after {size} bytes, without the directory that "
                "stands at the end; its download did not finish; fetch it again"
            )
        return "torch"
    if head[0] == 0x80 and _LEGACY_TORCH in head[:16]:
        return "legacy torch"
    if len(head) >= 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 28:
        return "safetensors"
    if (head[0] == 0x80 and head[1] <= pickle.HIGHEST_PROTOCOL) or (head[:1] in b"(}]c" and _ends_as_pickle(path)):
        return "pickle"
    raise CheckpointError(
        f"{path.name} begins with {head[:12]!r}: neither a torch file, nor safetensors, nor a pickle; is it an archive "
        "to be unpacked first, or another file of that name?"
    )


def _ends_as_pickle(path: Path) -> bool:
    """Return whether the last byte of a file is that of a pickle."""
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == pickle.STOP


def named_file(model: str, param: str, text: str) -> Path:
    """Return the path that a parameter of a model names.

    Raises
    ------
    DataError
        If it is no absolute path of a file.
    """
    path = Path(text).expanduser()
    if not path.is_absolute() or not path.is_file():
        why = "is not a file" if path.is_absolute() else "is not an absolute path, and jobs work in their own folders"
        raise DataError(f"{model}: {param}={text!r} {why}; expected the absolute path of a file")
    return path


def published_file(model: str, files: Mapping[str, Path], card: RemoteFile, named: str, param: str) -> Path:
    """Return the file that a parameter of a model names, or else that of its card.

    Parameters
    ----------
    model
        Its name, in parameters and in the folder of weights.
    files
        The fetched files by name, as the hooks get them.
    card
        The published file.
    named
        Value of the parameter; empty: none.

    Raises
    ------
    Skip
        If neither is there; the message has the steps to get it.
    DataError
        If the parameter names no file.
    """
    if named:
        return named_file(model, param, named)
    if card.wanted in files:
        return files[card.wanted]
    how = f"open {card.url} in a browser, {card.by_hand}, and put it" if card.by_hand else f"put {card.url}"
    raise Skip(
        f"{model} needs {card.filename!r}, which is not there: {how} into weights/{model}/ of the data folder "
        f"('pertharness weights fetch {model}' fetches or checks it), or name a file: "
        f"{model}[{param}=/PATH/{card.filename}]"
    )


def read_text(path: Path) -> str:
    """Return the text of a table or a vocabulary that is published with a checkpoint.

    Raises
    ------
    CheckpointError
        If it is absent, a web page, a pointer of git, or no text in UTF-8.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path.name}: {error.strerror or error}; expected a file at {str(path)!r}") from None
    check_no_page(path.name, content[:_HEAD])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path.name} is no text in UTF-8 ({error}): is it another file?") from None


def check_no_page(name: str, head: bytes) -> None:
    """Raise CheckpointError if a file begins as a web page or as a pointer of git."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<script", b"<!--")):
        raise CheckpointError(
            f"{name} is a web page, not the file: the server asked for a confirmation or a login, as drives do before "
            "large files; open the link in a browser, press Download, and put the file that arrives in its place"
        )
    if text.startswith(_POINTERS[0]) or any(mark in head[:200] for mark in _POINTERS[1:]):
        raise CheckpointError(
            f"{name} is a pointer of git to a large file, not the file: fetch it with `git lfs pull` (or `git annex "
            "get`), or download it from the page of the repository"
        )
