"""Recognise the errors of a full disk, whichever library raised them."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Error numbers for no space left: on the disk, in the user's quota, or in one file (``ulimit -f``)."""
_NUMBERS = "|".join(str(number) for number in sorted(FULL))
_WORDS = re.compile(
    "|".join(
        [
            *(re.escape(os.strerror(number)) for number in sorted(FULL)),
            "No space left on device|Disk quota exceeded|File too large",  # of libraries with other words for them
            rf"errno = (?:{_NUMBERS})\b",  # HDF5, which h5py raises as RuntimeError where a file is closed
            rf"os error (?:{_NUMBERS})\b",  # programs in Rust
            r"database or disk is full",  # SQLite
            r"\b\d+ requested and \d+ written",  # numpy's tofile and save, which name no number
        ]
    )
)


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error, or one of its causes, was raised because the disk is full.

    h5py sets the error number only if a write fails. If closing a file fails, it raises a RuntimeError with the number
    in its text. numpy gives no number at all. An error raised ``from None`` hides its cause from this function, too.

    Parameters
    ----------
    error
        The error that was caught. Its causes, its contexts and the members of exception groups are examined, too.
    """
    return any(_is_full(linked) for linked in _chain(error))


def mentions_full_disk(text: str) -> bool:
    """Return whether a text, such as the output of a program, reports a full disk."""
    return bool(_WORDS.search(text))


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FULL
    try:
        return isinstance(error, Exception) and mentions_full_disk(str(error))
    except Exception:  # noqa: BLE001 - str() runs code of whoever defined the exception
        return False


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all its causes, each once."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        pending += [current.__cause__, None if current.__suppress_context__ else current.__context__]
        pending += [member for member in getattr(current, "exceptions", ()) if isinstance(member, BaseException)]
