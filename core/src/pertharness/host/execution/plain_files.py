"""Open the files that a job left, so that links, pipes and the like cannot mislead or block the watcher."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO

from pertharness.contract.errors import StoreError
from pertharness.contract.jobs import HOME, OUT, SCRATCH
from pertharness.contract.stages import CARD, FACTS
from pertharness.data.hdf5_structure import LARGEST_RATIO, SMALL, in_units
from pertharness.files.trees import unlock_folder
from pertharness.host.execution.batch import Launch
from pertharness.worker.job_run import LOG_TAIL

LARGEST = {CARD: 16 << 20, FACTS: 16 << 20, ".json": 256 << 20, ".csv": 4 << 30}
"""Size limits in bytes by the first matching ending, for files that are read whole or line by line.

A card has some kilobytes; a split of a million perturbations with long names has 100 MiB; 30 million scores have 3 GiB.
"""

_CAREFUL = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Flags: follow no link, and do not wait for the other end of a pipe."""


def open_plain(path: Path, flags: int = os.O_RDONLY) -> int:
    """Return a descriptor of a plain file without hard links, in a folder that is not a link.

    The checks apply to the descriptor, whatever is put under the name afterwards: use nothing else.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    StoreError
        If it is anything else, such as a link, a pipe or a second name of another file, or cannot be opened.
    """
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | _CAREFUL)
        try:
            descriptor = os.open(path.name, flags | _CAREFUL, dir_fd=folder)
        finally:
            os.close(folder)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{path.name!r} cannot be read: {error.strerror}") from None
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
        os.close(descriptor)
        raise StoreError(f"{path.name!r} is not a plain file, or has hard links")
    return descriptor


def is_there(path: Path) -> bool:
    """Return whether a name exists, as a link or anything else; False if it cannot be examined."""
    try:
        path.lstat()
    except OSError:
        return False
    return True


def unlock_job(launch: Launch) -> None:
    """Grant the watcher access to a job's folders, whatever permissions the ended job left there.

    Raises
    ------
    OSError
        If one of them is another user's.
    """
    for folder in (launch.folder, *(launch.folder / name for name in (OUT, SCRATCH, HOME))):
        unlock_folder(str(folder))


def check_size(name: str, descriptor: int) -> None:
    """Check, before it is read, that a file is not too long for its name and contains as much data as it claims.

    Raises
    ------
    StoreError
        If it is too long, or nearly all of it is a hole: that takes no room on the disk, and as long to read as data.
    """
    facts = os.fstat(descriptor)
    limit = next((limit for ending, limit in LARGEST.items() if name.endswith(ending)), None)
    if limit is not None and facts.st_size > limit:
        raise StoreError(f"{name!r} holds {in_units(facts.st_size)}, expected at most {in_units(limit)}")
    least = facts.st_size // LARGEST_RATIO
    # The number of blocks of stat(2) is checked first; on ZFS, it lags behind.
    if facts.st_size <= SMALL or facts.st_blocks * 512 >= least:
        return
    held = _data_bytes(descriptor, facts.st_size, least)
    if held < least:
        raise StoreError(f"{name!r} claims {in_units(facts.st_size)}, but holds only {in_units(held)} of them")


def _data_bytes(descriptor: int, size: int, enough: int) -> int:
    """Return how many bytes of a file are not holes, counted until they are enough; all if that is unknown."""
    held = start = 0
    try:
        while start < size and held < enough:
            start = os.lseek(descriptor, start, os.SEEK_DATA)
            end = os.lseek(descriptor, start, os.SEEK_HOLE)
            held, start = held + end - start, end
    except AttributeError:
        return size
    except OSError as error:
        if error.errno != errno.ENXIO:  # there is no more data
            return size
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)
    return held


def read_end(file: IO[bytes], start: int = 0) -> str:
    """Return the end of the data of a file from `start` on."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(start, size - LOG_TAIL))
    return file.read(LOG_TAIL).decode("utf-8", "replace")
