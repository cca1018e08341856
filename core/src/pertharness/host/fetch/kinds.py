"""What a file is, by its first bytes and by the lengths that it states: told before its sum is recorded or used."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from pertharness.contract.errors import FetchError

# What files of these names begin with: PKWARE APPNOTE 4.3.7, RFC 1952, HDF5 file format 3.0 (II.A), NPY format 1.0. A
# file of PyTorch is a zip, or in its older form a pickle, which nothing here reads.
_TORCH = (b"PK\x03\x04", b"\x80")
_HDF5 = (b"\x89HDF\r\n\x1a\n",)
_STARTS: dict[str, tuple[bytes, ...]] = {
    ".zip": (b"PK",), ".npz": (b"PK",), ".gz": (b"\x1f\x8b",), ".tgz": (b"\x1f\x8b",), ".h5ad": _HDF5, ".h5": _HDF5,
    ".npy": (b"\x93NUMPY",), ".pt": _TORCH, ".pth": _TORCH, ".ckpt": _TORCH, ".torch": _TORCH,
}  # fmt: skip
_SAFETENSORS = ".safetensors"
_HEAD = 512
_LARGEST_HEADER = 100_000_000
"""Of a safetensors file, as its format says."""
_SIZE_SHARE, _SIZE_MB = 0.1, 1.0
"""How far a size may be from that on the card, which is rounded, and may count 1024 x 1024 bytes as a megabyte."""


def is_web_page(head: bytes) -> bool:
    """Return whether a file that begins so is a page for a browser: a login, a consent, a warning of a drive."""
    text = head[:_HEAD].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return text.startswith((b"<!doctype html", b"<html")) or (text.startswith(b"<?xml") and b"<html" in text)


def check_kind(path: Path, *, subject: str, suffix: str, advice: str = "") -> None:
    """Check that a file is no web page, and begins like files of its suffix.

    Parameters
    ----------
    path
        The file.
    subject
        What messages call it.
    suffix
        Of the name that it was published under.
    advice
        What to do about a web page.

    Raises
    ------
    FetchError
        If it is something else, with its first bytes.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    size, kind = path.stat().st_size, suffix or "data"
    if not head:
        raise FetchError(f"{subject} is not a {kind} file: it is empty ({size} bytes)")
    if is_web_page(head) and suffix.lower() not in (".html", ".htm"):
        raise FetchError(
            f"{subject} is a web page, not a {kind} file: it begins with {head[:60]!r} ({size} bytes)"
            + (f"; {advice}" if advice else "")
        )
    if not head.startswith(_STARTS.get(suffix.lower(), (b"",))):
        raise FetchError(f"{subject} is not a {kind} file: it begins with {head[:60]!r} ({size} bytes)")


def check_size(path: Path, *, subject: str, size_mb: float | None, advice: str) -> None:
    """Check that a file whose sum nobody knows yet has about the size on its card, if that has one.

    Raises
    ------
    FetchError
        If it has not, with both sizes and the `advice`.
    """
    size = path.stat().st_size
    if size_mb is not None and abs(size / 1e6 - size_mb) > max(_SIZE_MB, _SIZE_SHARE * size_mb):
        raise FetchError(f"{subject} has {size} bytes, expected about {size_mb:g} MB; {advice}")


def check_whole(path: Path, *, subject: str, suffix: str, advice: str) -> None:
    """Check that a file whose sum nobody knows yet is as long as it says itself, where files of its kind do.

    Raises
    ------
    FetchError
        If it was cut short, with the `advice`.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    if is_zip and not zipfile.is_zipfile(path):
        raise FetchError(f"{subject} is cut short: it begins as a zip and has no end of one ({size} bytes); {advice}")
    if suffix.lower() == _SAFETENSORS and (wanted := _stated_size(path, subject)) != size:
        raise FetchError(f"{subject} is not whole: it has {size} bytes, its header states {wanted}; {advice}")


def _stated_size(path: Path, subject: str) -> int:
    """Return the size of a safetensors file that its header states: 8 bytes, the header, and the last tensor's end.

    Raises
    ------
    FetchError
        If it has no such header.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length <= _LARGEST_HEADER else b""
    try:
        tensors = {name: entry for name, entry in json.loads(text).items() if name != "__metadata__"}
        return 8 + length + max((int(entry["data_offsets"][1]) for entry in tensors.values()), default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        raise FetchError(f"{subject} is not a safetensors file: it has no header of that format") from None
