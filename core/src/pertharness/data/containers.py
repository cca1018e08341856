"""Recognise kinds of expression files, and show the command that converts an unsupported one."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pertharness.contract.errors import DataError

ZARR_MARKS = (".zgroup", "zarr.json")
"""Files of which one is in the top folder of a zarr store: format 2, format 3."""
_HDF5 = b"\x89HDF\r\n\x1a\n"
_UNPACK = MappingProxyType(
    {
        b"\x1f\x8b": ("gzip", "gunzip -k {path}"),
        b"\x28\xb5\x2f\xfd": ("zstd", "zstd -d {path}"),
        b"BZh": ("bzip2", "bunzip2 -k {path}"),
        b"\xfd7zXZ": ("xz", "xz -dk {path}"),
    }
)
"""First bytes of a compressed file -> the compressor, and the command that decompresses it."""
_SUFFIXES = MappingProxyType(
    {
        ".csv": 'python -c "import anndata.io as io; io.read_csv({path!r}).write_h5ad({target!r})"',
        ".tsv": "python -c \"import anndata.io as io; io.read_csv({path!r}, delimiter='\\t').write_h5ad({target!r})\"",
        ".txt": "python -c \"import anndata.io as io; io.read_csv({path!r}, delimiter='\\t').write_h5ad({target!r})\"",
        ".mtx": 'python -c "import scanpy; scanpy.read_10x_mtx({folder!r}).write_h5ad({target!r})"',
        ".rds": 'Rscript -e "zellkonverter::writeH5AD('
        "Seurat::as.SingleCellExperiment(readRDS('{path}')), '{target}')\"",
    }
)
"""Suffix of a file that is not HDF5 -> command that converts it to h5ad."""
_TENX = 'python -c "import scanpy; scanpy.read_10x_h5({path!r}).write_h5ad({target!r})"'
_LOOM = 'python -c "import anndata.io as io; io.read_loom({path!r}).write_h5ad({target!r})"'
_SEURAT = "Rscript -e \"SeuratDisk::Convert('{path}', dest = 'h5ad')\""


def is_zarr(path: Path) -> bool:
    """Return whether a path is a zarr store, as a folder or as a zip file."""
    if path.is_dir():
        return any((path / mark).is_file() for mark in ZARR_MARKS)
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as file:
            return any(mark in file.namelist() for mark in ZARR_MARKS)
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


def name_container(path: Path) -> str:
    """Return the kind of a readable file or folder: ``h5ad``, ``h5mu``, ``zarr folder`` or ``zarr in a zip file``."""
    if is_zarr(path):
        return "zarr folder" if path.is_dir() else "zarr in a zip file"
    import h5py

    with h5py.File(path, "r") as file:
        return "h5mu" if "mod" in file else "h5ad"


def refuse_other(path: Path) -> None:
    """Raise an error for a path that is neither HDF5 nor zarr, with the command that converts it if there is one.

    Raises
    ------
    DataError
        If the path is missing, compressed, a table, or another kind of folder.
    """
    if path.is_dir():
        if (path / ".zattrs").exists() or path.suffix == ".zarr":
            raise DataError(
                f"{str(path)!r} is a zarr folder without {' or '.join(ZARR_MARKS)} at its top: expected a whole store "
                "that anndata wrote; copy or write it again"
            )
        if any(path.glob("matrix.mtx*")):
            raise DataError(f"{str(path)!r} is a folder of 10x matrices; {_convert(_SUFFIXES['.mtx'], path / 'x')}")
        raise DataError(f"{str(path)!r} is a folder; expected an h5ad file, or a zarr folder that anndata wrote")
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}; expected an h5ad file")
    with path.open("rb") as file:
        start = file.read(8)
    for magic, (packer, line) in _UNPACK.items():
        if start.startswith(magic):
            raise DataError(f"{str(path)!r} is packed with {packer}; unpack it: {line.format(path=_quoted(path))}")
    if start.startswith(b"PK\x03\x04") and not zipfile.is_zipfile(path):
        raise DataError(f"{str(path)!r} is a zip file that is cut short or damaged; fetch or write it again")
    if start.startswith(b"PK\x03\x04"):
        raise DataError(
            f"{str(path)!r} is a zip file with no zarr store at its top; unpack it: unzip {_quoted(path)}, or zip the "
            "content of the zarr folder, not the folder"
        )
    converter = _SUFFIXES.get(path.suffix.lower())
    if converter and not start.startswith(_HDF5):
        raise DataError(f"{str(path)!r} is not an h5ad file but {path.suffix.lower()}; {_convert(converter, path)}")


def describe_other(members: Mapping[str, Any], path: Path) -> str | None:
    """Return the kind of an HDF5 file that is not h5ad, with the command that converts it; None if it is unknown."""
    names = set(members)
    if {"row_attrs", "col_attrs", "matrix"} <= names:
        return f"is a loom file; {_convert(_LOOM, path)}"
    if "matrix" in names and hasattr(members["matrix"], "keys") and "barcodes" in members["matrix"]:
        return f"is a matrix file of 10x; {_convert(_TENX, path)}"
    if {"assays", "meta.data"} <= names:
        return f"is an h5Seurat file; {_convert(_SEURAT, path)}"
    return None


def _convert(line: str, path: Path) -> str:
    """Return advice on how to convert a file to h5ad."""
    target = str(path.with_suffix(".h5ad"))
    filled = line.format(path=str(path), target=target, folder=str(path.parent))
    return f"make an h5ad of it, and name the perturbation of each cell in a column of obs: {filled}"


def _quoted(path: Path) -> str:
    """Return a path quoted for a shell."""
    import shlex

    return shlex.quote(str(path))
