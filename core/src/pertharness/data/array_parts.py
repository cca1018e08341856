"""Read one array of a file a part at a time."""

from __future__ import annotations

import zipfile
import zlib
from typing import Any

import numpy as np

from pertharness.contract.errors import DataError

_DAMAGES = (OSError, RuntimeError, ValueError, EOFError, zlib.error, zipfile.BadZipFile)
"""Errors that h5py, zarr and its codecs raise for values that cannot be read."""


class Forward:
    """Reads a one-dimensional array from front to back, and each stored chunk only once.

    HDF5 caches only a megabyte of decompressed chunks. Without this class, a chunk that two reads share would mostly be
    decompressed twice.
    """

    def __init__(self, array: Any) -> None:
        self.array = array
        self.step = array.chunks[0] if getattr(array, "chunks", None) else 1
        self.start, self.held = 0, np.empty(0, dtype=array.dtype)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the values from `start` to `stop`; `start` must not be before the end of the last part."""
        held_end = self.start + len(self.held)
        end = min(-(-stop // self.step) * self.step, self.array.shape[0])
        if start >= held_end:
            self.start, held_end = start // self.step * self.step, start // self.step * self.step
            self.held = self.held[:0]
        if end > held_end:
            rest = self.held[start - self.start :]
            self.held = read_part(self.array, held_end, end, before=rest)
            self.start = end - len(self.held)
        return self.held[start - self.start : stop - self.start]


def read_part(array: Any, start: int, stop: int | None, before: np.ndarray | None = None) -> np.ndarray:
    """Read a part of an array, appended to the values in `before`; a part of an array in memory is not copied.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    try:
        if before is None or stop is None or not len(before):
            return np.asarray(array[start:stop])
        values = np.empty(len(before) + stop - start, dtype=array.dtype)
        values[: len(before)] = before
        if hasattr(array, "read_direct"):  # h5py
            array.read_direct(values, np.s_[start:stop], np.s_[len(before) :])
        else:
            values[len(before) :] = array[start:stop]
        return values
    except _DAMAGES as error:
        raise damaged(array, str(error)) from error


def damaged(array: Any, reason: str) -> DataError:
    """Return the error for a matrix that cannot be read."""
    where = f"{array.file.filename!r}, {array.name!r}" if hasattr(array, "file") else "a sparse matrix"
    return DataError(f"{where} cannot be read: {reason}; expected a whole h5ad file: fetch or write it again")
