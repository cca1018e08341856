"""Check the structure of a zarr store before reading it: links, names, codecs, sizes and missing chunks."""

from __future__ import annotations

import json
import math
import stat
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pertharness.contract.errors import DataError
from pertharness.data.hdf5_structure import LARGEST_RATIO, SMALL, in_units
from pertharness.files.trees import walk

_METADATA = (".zarray", ".zgroup", ".zattrs", ".zmetadata", "zarr.json")
_MOST_METADATA = 64 << 20
"""Largest size of a metadata file in bytes; anndata writes some hundred bytes, or some thousand if consolidated."""
_CODECS = frozenset(
    {
        "adler32", "astype", "bitround", "blosc", "bytes", "bz2", "crc32", "crc32c", "delta", "endian",
        "fixedscaleoffset", "fletcher32", "gzip", "jenkins_lookup3", "lz4", "packbits", "quantize",
        "sharding_indexed", "shuffle", "transpose", "vlen-array", "vlen-bytes", "vlen-utf8", "zfpy", "zlib", "zstd",
    }
)  # fmt: skip
"""Codecs that only decode numbers and texts. Others, such as pickle, may run code."""


def check_zarr(path: Path) -> None:
    """Check that a store contains all its data, and about as much as it declares.

    No values are read.

    Parameters
    ----------
    path
        Folder or zip file.

    Raises
    ------
    DataError
        If there is a link, a name that leads out of the zip file, a codec that might run code, an array that declares
        far more values than the store contains, or a sparse matrix with missing chunks, which would be read as zeros.
    """
    if path.is_dir():
        _check_files(path, _list_folder(path), lambda name: (path / name).read_bytes())
        return
    with zipfile.ZipFile(path) as file:
        _check_files(path, _list_zip(path, file), file.read)


def _list_folder(path: Path) -> dict[str, int]:
    """Return the sizes of the files in a folder; raise an error for links and special files."""
    sizes = {}
    for entry in walk(path):
        name = "/".join([*entry.above, entry.name])
        if stat.S_ISREG(entry.facts.st_mode):
            sizes[name] = entry.facts.st_size
        elif not entry.is_folder:
            kind = "a link" if stat.S_ISLNK(entry.facts.st_mode) else "no file"
            raise DataError(f"{str(path)!r}: {name!r} is {kind}; expected all data in the folder itself: copy it whole")
    return sizes


def _list_zip(path: Path, file: zipfile.ZipFile) -> dict[str, int]:
    """Return the compressed sizes of the members of a zip file; raise an error for unsafe names."""
    sizes: dict[str, int] = {}
    for member in file.infolist():
        parts = member.filename.split("/")
        if member.filename.startswith("/") or ".." in parts or "\\" in member.filename or ":" in parts[0]:
            raise DataError(f"{str(path)!r}: the name {member.filename!r} leads out of the zip file; zip it again")
        if member.is_dir():
            continue
        if stat.S_ISLNK(member.external_attr >> 16) or member.flag_bits & 1:
            kind = "encrypted" if member.flag_bits & 1 else "a link"
            raise DataError(f"{str(path)!r}: {member.filename!r} is {kind}; expected plain files: zip it again")
        if member.filename in sizes:
            raise DataError(f"{str(path)!r}: {member.filename!r} is a duplicate entry of the zip file; zip it again")
        if member.file_size > max(SMALL, LARGEST_RATIO * member.compress_size):
            raise DataError(
                f"{str(path)!r}: {member.filename!r} declares {in_units(member.file_size)}, and the zip file holds "
                f"{in_units(member.compress_size)} of it; zip it again"
            )
        sizes[member.filename] = member.compress_size
    return sizes


def _check_files(path: Path, sizes: Mapping[str, int], read: Callable[[str], bytes]) -> None:
    """Check all arrays in the metadata of a store."""
    held = _held_by_folder(sizes)
    for name in sorted(sizes):
        folder, _, base = name.rpartition("/")
        if base not in _METADATA:
            continue
        if sizes[name] > _MOST_METADATA:
            raise DataError(f"{str(path)!r}: {name!r} has {in_units(sizes[name])} of metadata; write it again")
        if base not in (".zarray", "zarr.json"):
            continue
        try:
            metadata = json.loads(read(name))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{str(path)!r}: {name!r} is not JSON ({error}); copy or write it again") from None
        if isinstance(metadata, dict) and (base == ".zarray" or metadata.get("node_type") == "array"):
            _check_array(f"{str(path)!r}: {'/' + folder!r}", metadata, held.get(folder, (0, 0)), folder)


def _held_by_folder(sizes: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Return the number and the bytes of the chunks in each folder and below it."""
    held: dict[str, tuple[int, int]] = {}
    for name, size in sizes.items():
        parts = name.split("/")
        if parts[-1] in _METADATA:
            continue
        for depth in range(len(parts)):
            folder = "/".join(parts[:depth])
            number, total = held.get(folder, (0, 0))
            held[folder] = number + 1, total + size
    return held


def _check_array(where: str, metadata: Mapping[str, Any], held: tuple[int, int], folder: str) -> None:
    """Check the codecs, the size and the chunks of one array."""
    unknown = sorted({str(codec) for codec in _codecs(metadata)} - _CODECS)
    if unknown:
        raise DataError(
            f"{where} is packed with {', '.join(map(repr, unknown))}, which is not read; expected what anndata writes: "
            "write it again, without a codec of its own"
        )
    try:
        shape = [int(n) for n in metadata["shape"]]
        grid = metadata.get("chunk_grid", {}).get("configuration", {}).get("chunk_shape")
        chunks = [int(n) for n in (metadata.get("chunks", grid))]
        itemsize = _itemsize(metadata.get("dtype", metadata.get("data_type")))
        if len(chunks) != len(shape) or any(n < 0 for n in shape) or any(n < 1 for n in chunks):
            raise ValueError(f"pieces of {chunks} in {shape}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{where} is not described as an array ({error}); copy or write it again") from None
    n_chunks, n_bytes = held
    declared = math.prod(shape) * itemsize
    largest = max(declared, math.prod(chunks) * itemsize)
    if largest > max(SMALL, LARGEST_RATIO * n_bytes):
        raise DataError(
            f"{where} declares {' x '.join(map(str, shape))} values ({in_units(largest)}), and the store holds "
            f"{in_units(n_bytes)} of them; expected a store with its values: write it again"
        )
    _check_chunks(where, shape, chunks, n_chunks, folder.rpartition("/")[2])


def _check_chunks(where: str, shape: list[int], chunks: list[int], n_chunks: int, name: str) -> None:
    """Raise an error if chunks of a sparse matrix's values or indices are missing.

    zarr may omit a chunk of zeros only. A sparse matrix stores no zeros, so only an index chunk of one value can be 0.
    """
    if name not in ("data", "indices") or len(shape) != 1:
        return
    expected = -(-shape[0] // chunks[0])
    may_lack = int(name == "indices" and shape[0] - (expected - 1) * chunks[0] == 1)
    if n_chunks < expected - may_lack:
        raise DataError(
            f"{where} has {n_chunks} of {expected} pieces: the others would be read as zeros; copy or write it again"
        )


def _itemsize(dtype: Any) -> int:
    """Return the bytes per value; texts count as pointers of 8 bytes."""
    if isinstance(dtype, str):
        try:
            return int(np.dtype(dtype).itemsize)
        except TypeError:
            return 8
    return 8


def _codecs(metadata: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the names of the codecs of an array, including those within shards."""
    for key in ("compressor", "filters", "codecs", "index_codecs"):
        configured = metadata.get(key)
        for codec in configured if isinstance(configured, list) else [configured] if configured else ():
            if not isinstance(codec, Mapping):
                yield codec
                continue
            yield codec.get("id", codec.get("name"))
            inner = codec.get("configuration")
            if isinstance(inner, Mapping):
                yield from _codecs(inner)
