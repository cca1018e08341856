"""Read and write expression files: h5ad that every supported version of anndata can read."""

from __future__ import annotations

import contextlib
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness.contract.errors import ChoiceError, DataError
from pertharness.data.containers import describe_other, is_zarr, refuse_other
from pertharness.data.hdf5_structure import check_structure
from pertharness.data.zarr_store import open_zarr
from pertharness.files.whole import replacing

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from pertharness.data.stored import Stored


def layers_of(adata: AnnData | Stored) -> dict[str, Any]:
    """Return the layers by name; anndata 0.13 lists ``X`` among them with the name None."""
    return {str(name): matrix for name, matrix in adata.layers.items() if name is not None}


def write(adata: AnnData | Stored, path: Path) -> None:
    """Write ``X``, ``layers``, ``obs``, ``var`` and ``uns`` atomically as an uncompressed h5ad.

    Only encodings that anndata 0.9 can read are used: texts are objects or categories, and None in ``uns`` is left out.
    Matrices on disk are copied a chunk at a time.
    """
    import h5py
    from anndata import AnnData

    from pertharness.data.stored import Stored, write_matrix

    tables = {"obs": _plain(adata.obs), "var": _plain(adata.var), "uns": _without_none(adata.uns)}
    streams = isinstance(adata, Stored) or adata.isbacked
    plain = AnnData(**tables) if streams else AnnData(X=adata.X, layers=layers_of(adata), **tables)
    with replacing(path) as temporary:
        plain.write_h5ad(temporary)
        if not streams:
            return
        with h5py.File(temporary, "a") as file:
            if "X" in file:  # some versions write a null element
                del file["X"]
            if adata.X is not None:
                write_matrix(file, "X", adata.X)
            for name, matrix in layers_of(adata).items():
                write_matrix(file["layers"], name, matrix)


def _plain(df: pd.DataFrame) -> pd.DataFrame:
    """Return a copy whose texts are objects or categories of objects, which anndata 0.9 can read."""
    import pandas as pd

    def plain_values(values: Any) -> Any:
        return values.astype(object) if pd.api.types.is_string_dtype(values.dtype) else values

    index = pd.Index(df.index.astype(object), dtype=object, name=df.index.name)
    plain: pd.DataFrame = pd.DataFrame(index=index)
    for column in df.columns:
        values: Any = df[column].array
        if isinstance(values, pd.Categorical):
            categories = plain_values(values.categories)
            values = pd.Categorical.from_codes(values.codes, categories, ordered=bool(values.ordered))
        else:
            values = plain_values(values)
        # A Series with an explicit dtype, because pandas would convert texts to nullable strings again.
        plain[column] = pd.Series(values, index=index, dtype=values.dtype)
    return plain


def _without_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a nested mapping without None values."""
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in fields.items()
        if value is not None
    }


def read(path: Path) -> AnnData:
    """Read an h5ad file into memory.

    Raises
    ------
    DataError
        If the file is missing, truncated, not HDF5, or HDF5 of another kind.
    """
    import anndata

    with _reading(path) as file:
        _check_is_anndata(file, path)
        file.close()
        return anndata.read_h5ad(path)


def open_stored(path: Path, modality_key: str | None = None) -> Stored:
    """Open an h5ad, an h5mu or a zarr store, and leave the matrices on disk.

    A file written by anndata before 0.8 is read into memory.

    Parameters
    ----------
    modality_key
        Modality of an h5mu; None if it has only one.

    Raises
    ------
    DataError
        If the file is missing, truncated, not HDF5 or zarr, or of another kind. The message shows the command that
        converts the file, if there is one.
    ChoiceError
        If an h5mu has several modalities and `modality_key` is None.
    """
    from pertharness.data.stored import Raw, Stored

    if is_zarr(path):
        with _wrapping_errors(path, "zarr"):
            stored = _open_group(open_zarr(path), path, modality_key)
        if stored is None:
            raise DataError(f"{str(path)!r} has matrices that are not of anndata 0.8 or later; write it again")
        return stored
    with _reading(path) as file:
        stored = _open_group(file, path, modality_key)
        if stored is not None:
            return stored
        file.close()
    old = read(path)
    raw = None if old.raw is None else Raw(old.raw.X, old.raw.var)
    return Stored(old.X, old.obs, old.var, dict(old.uns), layers_of(old), raw)


def _open_group(group: Any, path: Path, modality_key: str | None) -> Stored | None:
    """Return the dataset in a group, or in its chosen modality."""
    from pertharness.data.elements import read_table, take_shared
    from pertharness.data.stored import open_parts

    chosen = _choose_modality(group, path, modality_key)
    stored = open_parts(chosen)
    if stored is not None and "mod" in group and "obs" in group:
        modality = str(chosen.name).rpartition("/")[2]
        stored.obs = take_shared(stored.obs, read_table(group["obs"]), modality, set(group["mod"]))
    return stored


def _choose_modality(group: Any, path: Path, modality_key: str | None) -> Any:
    """Return the group that is an AnnData: the file itself, or one modality of a MuData."""
    if "mod" not in group or not hasattr(group["mod"], "keys"):
        if modality_key is not None:
            raise DataError(f"{str(path)!r} has no modalities; leave out --modality-key {modality_key}")
        _check_is_anndata(group, path)
        return group
    names = sorted(group["mod"])
    if modality_key is None and len(names) != 1:
        raise ChoiceError(
            f"{str(path)!r} is an h5mu of {len(names)} modalities ({', '.join(map(repr, names))}); choose the one that "
            "holds the expression with --modality-key"
        )
    if modality_key is not None and modality_key not in names:
        raise DataError(
            f"{str(path)!r} has no modality {modality_key!r} (--modality-key); it has {', '.join(map(repr, names))}"
        )
    chosen = group["mod"][modality_key or names[0]]
    _check_is_anndata(chosen, path)
    return chosen


def _check_is_anndata(group: Any, path: Path) -> None:
    """Raise an error for a file without ``obs`` or ``var``."""
    absent = sorted({"obs", "var"} - set(group))
    if not absent:
        return
    if words := describe_other(group, path):
        raise DataError(f"{str(path)!r} {words}")
    container = "zarr" if is_zarr(path) else "HDF5"
    raise DataError(
        f"{str(path)!r} is {container} of another kind: it has {', '.join(sorted(group)) or 'nothing'}, no "
        f"{', '.join(absent)}; expected an h5ad file"
    )


_FAULTS = (
    OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, AssertionError, OverflowError,
    EOFError, zlib.error, zipfile.BadZipFile,
)  # fmt: skip
"""Errors that h5py, zarr and anndata raise for files that are damaged or malicious."""


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[Any]:
    """Open an h5ad with h5py, and turn errors while it is read into `DataError`."""
    import h5py

    refuse_other(path)
    with _wrapping_errors(path, "h5ad"):
        file = h5py.File(path, "r")
        check_structure(file, repr(str(path)))
        yield file


@contextlib.contextmanager
def _wrapping_errors(path: Path, kind: str) -> Iterator[None]:
    """Turn errors while a file is read into `DataError`."""
    from anndata._io.specs.registry import IORegistryError  # raised for unknown encodings

    try:
        with warnings.catch_warnings():
            # Warnings on files of older versions and on duplicate names; our own checks have better messages.
            warnings.simplefilter("ignore")
            yield
    except (*_FAULTS, IORegistryError) as error:
        # anndata 0.9 wraps the error.
        unknown = next((each for each in (error, error.__cause__) if isinstance(each, IORegistryError)), None)
        if unknown is not None:
            raise DataError(
                f"{str(path)!r} has an encoding that anndata {version('anndata')} does not know ({unknown}); expected "
                f"one of its time: {_NEWER}"
            ) from error
        size = "a folder" if path.is_dir() else f"{path.stat().st_size} bytes"
        # anndata 0.9 gives the key in its own error and the reason in the error's cause.
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        whole = "a whole HDF5 file" if kind == "h5ad" else "a whole zarr store"
        raise DataError(
            f"{str(path)!r} ({size}) cannot be read as {kind}: {error}{cause}; expected {whole} written by anndata: "
            "fetch or write it again"
        ) from error


_NEWER = (
    "install a newer anndata (from 0.12 on it needs Python 3.11), or write the file again with texts as objects or "
    "categories"
)
