"""Open zarr stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pertharness.contract.errors import DataError
from pertharness.data.zarr_structure import check_zarr


def open_zarr(path: Path) -> Any:
    """Check the structure of a zarr store, a folder or a zip file, and open its root group for reading.

    Raises
    ------
    DataError
        If zarr is not installed or too old for the store's format, or if a check of the structure fails.
    """
    check_zarr(path)
    try:
        import zarr
        from zarr import storage
    except ImportError:
        raise DataError(
            f"{str(path)!r} is a zarr store, and zarr is not installed: pip install 'pertharness[zarr]', or make an "
            "h5ad of it where it is: anndata.read_zarr(...).write_h5ad(...)"
        ) from None
    is_new = int(zarr.__version__.split(".")[0]) >= 3
    if not is_new and _is_format_3(path):
        raise DataError(
            f"{str(path)!r} is of zarr format 3, and zarr {zarr.__version__} reads format 2: zarr 3 needs Python 3.11 "
            "or newer; use such a Python, or make an h5ad of it where it is: anndata.read_zarr(...).write_h5ad(...)"
        )
    # Consolidated metadata are ignored, because the checks read the metadata of each array.
    consolidated: dict[str, Any] = {"use_consolidated": False} if is_new else {}
    if path.is_dir():
        return zarr.open_group(str(path), mode="r", **consolidated)
    return zarr.open_group(storage.ZipStore(str(path), mode="r"), mode="r", **consolidated)


def _is_format_3(path: Path) -> bool:
    """Return whether a store has zarr format 3."""
    if path.is_dir():
        return (path / "zarr.json").is_file()
    import zipfile

    with zipfile.ZipFile(path) as file:
        return "zarr.json" in file.namelist()
