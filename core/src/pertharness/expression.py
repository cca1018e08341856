"""Files of expression: h5ad that every supported anndata reads, whole or absent."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness.errors import DataError
from pertharness.files import replacing
from pertharness.structure import check_structure

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from pertharness.stored import Stored


def layers_of(adata: AnnData | Stored) -> dict[str, Any]:
    """Give the layers by name; anndata 0.13 counts ``X`` as one of them, under None."""
    return {str(name): matrix for name, matrix in adata.layers.items() if name is not None}


def write(adata: AnnData | Stored, path: Path) -> None:
    """Write ``X``, ``layers``, ``obs``, ``var`` and ``uns`` as an uncompressed h5ad, whole or not at all.

    Only encodings that anndata 0.9 reads: texts as objects or categories, None in ``uns`` left out. Matrices on disk
    are never in memory whole.
    """
    import h5py
    from anndata import AnnData

    from pertharness.stored import Stored, write_matrix

    tables = {"obs": _plain(adata.obs), "var": _plain(adata.var), "uns": _without_none(adata.uns)}
    streams = isinstance(adata, Stored) or adata.isbacked
    plain = AnnData(**tables) if streams else AnnData(X=adata.X, layers=layers_of(adata), **tables)
    with replacing(path) as temporary:
        plain.write_h5ad(temporary)
        if not streams:
            return
        with h5py.File(temporary, "a") as file:
            if "X" in file:  # some versions write that there is none
                del file["X"]
            if adata.X is not None:
                write_matrix(file, "X", adata.X)
            for name, matrix in layers_of(adata).items():
                write_matrix(file["layers"], name, matrix)


def _plain(df: pd.DataFrame) -> pd.DataFrame:
    """Give a copy whose texts are objects or categories of objects, as anndata 0.9 reads them."""
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
        # A series with a type of its own: pandas would make texts nullable strings again.
        plain[column] = pd.Series(values, index=index, dtype=values.dtype)
    return plain


def _without_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Give a copy of a nested mapping without its Nones."""
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in fields.items()
        if value is not None
    }


def read(path: Path) -> AnnData:
    """Read an h5ad.

    Raises
    ------
    DataError
        If the file is absent, cut short, not HDF5, or HDF5 of another kind.
    """
    import anndata

    with _reading(path) as file:
        file.close()
        return anndata.read_h5ad(path)


def open_stored(path: Path) -> Stored:
    """Open an h5ad whose matrices stay on disk; one that an anndata before 0.8 wrote is read whole.

    Raises
    ------
    DataError
        If the file is absent, cut short, not HDF5, or HDF5 of another kind.
    """
    from pertharness.stored import Stored, open_parts

    with _reading(path) as file:
        stored = open_parts(file)
        if stored is not None:
            return stored
        file.close()
    old = read(path)
    return Stored(old.X, old.obs, old.var, dict(old.uns), layers_of(old))


_FAULTS = (
    OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, AssertionError, OverflowError,
)  # fmt: skip
"""What h5py and anndata raise at files that are damaged, or made to mislead."""


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[Any]:
    """Open an h5ad with h5py, and put whatever goes wrong while it is read into words."""
    import h5py
    from anndata._io.specs.registry import IORegistryError  # of an encoding that this anndata does not know

    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}; expected an h5ad file")
    try:
        file = h5py.File(path, "r")
        check_structure(file, repr(str(path)))
        absent = sorted({"obs", "var"} - set(file))
        if absent:
            raise DataError(
                f"{str(path)!r} is HDF5 of another kind: it has {', '.join(sorted(file)) or 'nothing'}, no "
                f"{', '.join(absent)}; expected an h5ad file"
            )
        with warnings.catch_warnings():
            # Of files of older versions, and of names that occur twice: those are checked with a better message.
            warnings.simplefilter("ignore")
            yield file
    except (*_FAULTS, IORegistryError) as error:
        size = path.stat().st_size
        # anndata 0.9 names the key in its own error and the reason in the error's cause.
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        raise DataError(
            f"{str(path)!r} ({size} bytes) cannot be read as h5ad: {error}{cause}; "
            "expected a whole HDF5 file written by anndata: fetch or write it again"
        ) from error
