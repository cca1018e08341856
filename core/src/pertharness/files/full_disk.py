"""Errors of a full disk, however the library that met one words it."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Numbers of the errors that say that there is no room: on the disk, for this user, or in one file (``ulimit -f``)."""
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
    """Return whether an error, or one that it was raised from, is that of a full disk.

    h5py gives the number of the system's error only where a write fails. Where a file is closed, the error is a
    RuntimeError whose text holds the number; numpy gives no number at all. What is raised ``from None`` hides the
    error before it from this function, too.

    Parameters
    ----------
    error
        As it was caught; causes and contexts are followed, and the members of exception groups.
    """
    return any(_is_full(linked) for linked in _chain(error))


def mentions_full_disk(text: str) -> bool:
    """Return whether a text, such as what another program printed, names the error of a full disk."""
    return bool(_WORDS.search(text))


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FULL
    try:
        return isinstance(error, Exception) and mentions_full_disk(str(error))
    except Exception:  # noqa: BLE001 - the text of an exception is made by the code of whoever defined it
        return False


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that it came from, each once."""
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
