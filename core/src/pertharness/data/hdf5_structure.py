"""Check the structure of an HDF5 file before reading it: links, location of the data, and sizes."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

from pertharness.contract.errors import DataError

if TYPE_CHECKING:
    import h5py

LARGEST_RATIO = 1100
"""Largest ratio of an array's declared size to its stored size; deflate reaches 1032:1 (RFC 1951)."""
SMALL = 1 << 30
"""Bytes up to which an array is read whatever its stored size, since zeros need not be stored."""
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def check_structure(file: h5py.File, path: str) -> None:
    """Check that a file contains all its data, and about as much as it declares.

    No values are read. Links within the file are allowed, because anndata follows them.

    Parameters
    ----------
    file
        File opened for reading.
    path
        Name of the file in messages.

    Raises
    ------
    DataError
        If there is a link to another file, an array with values in other files, a group that contains itself, an array
        that declares far more values than the file stores, or a compression filter that is not installed.
    """
    _check_group(file["/"], path, (), set())


def _check_group(group: Any, path: str, enclosing: tuple[Any, ...], seen: set[Any]) -> None:
    """Check the members of a group; `enclosing` are the addresses of the groups that contain it."""
    import h5py

    address = h5py.h5o.get_info(group.id).addr
    if address in enclosing:
        raise DataError(f"{path}: the group {group.name!r} contains itself; write the file again, as a tree")
    if address in seen:
        return
    seen.add(address)
    for name in group:
        link = group.get(name, getlink=True)
        member_path = f"{group.name.rstrip('/')}/{name}"
        if isinstance(link, h5py.ExternalLink):
            raise DataError(f"{path}: {member_path!r} is a link to another file, {link.filename!r}; {_ALL_IN_ONE}")
        if isinstance(link, h5py.SoftLink):
            continue  # the target is checked where it is defined
        member = group[name]
        if isinstance(member, h5py.Group):
            _check_group(member, path, (*enclosing, address), seen)
        elif isinstance(member, h5py.Dataset):
            _check_array(member, f"{path}: {member_path!r}")


_ALL_IN_ONE = "expected all data in the file itself: read it with anndata where it works, and write it again"


def _check_array(array: h5py.Dataset, where: str) -> None:
    """Check that the values of an array are in the file, and not far fewer than declared."""
    if array.is_virtual:
        sources = ", ".join(sorted({repr(source.file_name) for source in array.virtual_sources()}))
        raise DataError(f"{where} is made of arrays of other files ({sources}); {_ALL_IN_ONE}")
    if array.external:
        raise DataError(f"{where} has its values in another file, {array.external[0][0]!r}; {_ALL_IN_ONE}")
    _check_filters(array, where)
    declared = math.prod(array.shape or ()) * array.dtype.itemsize
    held = array.id.get_storage_size()
    if declared > max(SMALL, LARGEST_RATIO * held):
        shape = " x ".join(map(str, array.shape))
        raise DataError(
            f"{where} declares {shape} values of {array.dtype.name} ({in_units(declared)}), and the file holds "
            f"{in_units(held)} of them; expected a file with its values: write it again"
        )


def _check_filters(array: h5py.Dataset, where: str) -> None:
    """Check that the compression filters of an array are installed; HDF5 itself has gzip, LZF and szip."""
    import importlib

    import h5py

    layout = array.id.get_create_plist()
    filters = [layout.get_filter(number) for number in range(layout.get_nfilters())]
    if all(h5py.h5z.filter_avail(code) for code, *_ in filters):
        return
    with contextlib.suppress(ImportError):
        importlib.import_module("hdf5plugin")  # registers zstd, blosc, lz4 and others with HDF5
    for code, _, _, name in filters:
        if not h5py.h5z.filter_avail(code):
            shown = name.decode(errors="replace").partition(";")[0] or "unknown"
            raise DataError(
                f"{where} is compressed with the filter {code} of HDF5 ({shown}), which is not installed here: pip "
                "install hdf5plugin, or write the file again with compression='gzip'"
            )


def in_units(n_bytes: int) -> str:
    """Return a number of bytes in the largest fitting unit: ``29.1 TiB``."""
    exponent = min(len(_UNITS) - 1, max(0, n_bytes.bit_length() - 1) // 10)
    return f"{n_bytes / 1024**exponent:.{1 if exponent else 0}f} {_UNITS[exponent]}"


def is_number(dtype: Any) -> bool:
    """Return whether a type is integer or float: not boolean, complex, text or an enumeration."""
    return dtype.kind in "iuf" and "enum" not in (dtype.metadata or {})
