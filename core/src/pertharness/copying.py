"""Parts of an uncompressed array of an HDF5 file copied into another file by the system, not through HDF5.

A selection of cells is thousands of short parts; HDF5 would copy each value twice, and take as long again to find it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import h5py

_WINDOW = 64 << 20
"""Bytes of the source that are mapped at a time: they count as memory of the process."""
_PIECES = 1024  # what a call takes on Linux (IOV_MAX)


def is_plain(array: Any) -> bool:
    """Say whether an array lies in its file as one piece, as it would in memory."""
    if not hasattr(array, "id") or not hasattr(os, "pwritev"):
        return False
    in_one_piece = array.chunks is None and not array.external and not array.is_virtual
    return bool(in_one_piece and array.file.driver == "sec2" and array.dtype.isnative and array.id.get_offset())


def create_plain(parent: h5py.Group, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> h5py.Dataset:
    """Create an uncompressed array whose place in the file is known before anything is written to it."""
    import h5py

    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return parent.create_dataset(name, shape, dtype, dcpl=layout)


def copy_ranges(source: h5py.Dataset, target: h5py.Dataset, starts: np.ndarray, stops: np.ndarray) -> None:
    """Fill `target`, one of ``create_plain``, with the ranges of `source`, both ``is_plain`` and of one type.

    Parameters
    ----------
    starts, stops
        Bytes from the beginning of `source`, ascending.
    """
    at = target.id.get_offset()
    first = source.id.get_offset()
    target.file.flush()
    descriptor = os.open(target.file.filename, os.O_WRONLY)
    try:
        for low, high in _windows(starts, stops):
            offset = first + int(low[0])
            window = np.memmap(Path(source.file.filename), "u1", "r", offset, (int(high[-1] - low[0]),)).data
            edges = np.stack([low, high], axis=1) - low[0]
            at = _write(descriptor, [window[start:stop] for start, stop in edges.tolist()], at)
    finally:
        os.close(descriptor)


def _windows(starts: np.ndarray, stops: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Group ranges, long ones cut, so that each group is one window of the source and one call."""
    n_cuts = np.maximum(1, -(-(stops - starts) // _WINDOW))
    within = np.arange(n_cuts.sum()) - np.repeat(np.cumsum(n_cuts) - n_cuts, n_cuts)
    low = np.repeat(starts, n_cuts) + within * _WINDOW
    high = np.minimum(low + _WINDOW, np.repeat(stops, n_cuts))
    at = 0
    while at < len(low):
        end = min(max(int(np.searchsorted(high, low[at] + _WINDOW, side="right")), at + 1), at + _PIECES)
        yield low[at:end], high[at:end]
        at = end


def _write(descriptor: int, pieces: list[memoryview], at: int) -> int:
    """Write pieces one after the other; give the place behind them."""
    written = os.pwritev(descriptor, pieces, at)
    rest = b"" if written == sum(map(len, pieces)) else b"".join(pieces)[written:]
    at += written
    while rest:  # the system may write less than asked for
        written = os.pwrite(descriptor, rest, at)
        at, rest = at + written, rest[written:]
    return at
