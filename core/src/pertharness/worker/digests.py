"""Compute digests of the arguments of hooks, to detect changes of values, labels and names."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness.data.expression import layers_of

if TYPE_CHECKING:
    import pandas as pd

CHUNK_BYTES = 16 << 20
"""Bytes of an array that are hashed at a time; an array that is not contiguous is copied in such parts."""
_ALIGNED = ("obsm", "varm", "obsp", "varp")


def digest(value: Any) -> str:
    """Return a hash of a dataset, a table, an array, or a mapping or list of these.

    Objects with the same values, labels and names have the same digest. Categories and objects of the same texts are
    equal, because writing an AnnData converts one to the other. Matrices on disk are ignored.
    """
    hasher = hashlib.sha256()
    _add(hasher, value)
    return hasher.hexdigest()


def digest_arguments(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return the digest of each argument of a hook; the items of a mapping have digests of their own."""
    digests = {}
    for argument, value in arguments.items():
        if isinstance(value, Mapping) and any(_is_data(item) for item in value.values()):
            digests[argument] = digest(sorted(map(str, value)))
            digests |= {f"{argument}[{name!r}]": digest(item) for name, item in value.items()}
        else:
            digests[argument] = digest(value)
    return digests


def changed_arguments(before: Mapping[str, str], arguments: Mapping[str, Any]) -> list[str]:
    """Return the names of the arguments, or of their items, whose digest has changed."""
    now = digest_arguments(arguments)
    return [name for name, old in before.items() if now.get(name) != old]


def copy_hint(argument: str) -> str:
    """Return the line of code with which a plugin copies an argument."""
    return f"adata = {argument}.copy()" if "[" in argument else f"{argument} = {argument}.copy()"


def _is_data(value: Any) -> bool:
    """Check whether a value is an AnnData, a stored dataset or a table."""
    return hasattr(value, "obs") or hasattr(value, "columns")


def _add(hasher: Any, value: Any) -> None:
    """Add a value of any kind."""
    if hasattr(value, "obs") and hasattr(value, "var"):
        _add_dataset(hasher, value)
    elif hasattr(value, "columns") and hasattr(value, "index"):
        _add_table(hasher, value)
    elif isinstance(value, Mapping):
        hasher.update(f"mapping {len(value)}".encode())
        for name in sorted(value, key=str):
            hasher.update(repr(name).encode())
            _add(hasher, value[name])
    elif isinstance(value, (list, tuple)) and not all(isinstance(item, str) for item in value):
        hasher.update(f"list {len(value)}".encode())
        for item in value:
            _add(hasher, item)
    elif hasattr(value, "indptr") or isinstance(value, np.ndarray):
        _add_matrix(hasher, value)
    else:
        hasher.update(repr(value).encode())


def _add_dataset(hasher: Any, adata: Any) -> None:
    """Add an AnnData; matrices on disk are left out."""
    values = adata.X
    if values is None or isinstance(values, np.ndarray) or hasattr(values, "sum_duplicates"):
        for name, matrix in (("X", values), *sorted(layers_of(adata).items())):
            hasher.update(repr(name).encode())
            _add(hasher, matrix)
    _add_table(hasher, adata.obs)
    _add_table(hasher, adata.var)
    _add(hasher, dict(adata.uns))
    for field in _ALIGNED:
        _add(hasher, dict(getattr(adata, field, {})))


def _add_matrix(hasher: Any, matrix: Any) -> None:
    """Add a numpy array or a compressed sparse matrix."""
    hasher.update(repr((getattr(matrix, "format", "dense"), matrix.shape, str(matrix.dtype))).encode())
    if hasattr(matrix, "indptr"):
        matrix.sum_duplicates()  # many methods of scipy do so, too; values do not change
        for part in (matrix.data, matrix.indices, matrix.indptr):
            hasher.update(np.ascontiguousarray(part).data)
    elif matrix.dtype.kind not in "biufc":
        hasher.update(repr(matrix.tolist()).encode())
    elif matrix.ndim == 0 or not matrix.size:
        hasher.update(matrix.tobytes())
    else:
        rows = max(1, CHUNK_BYTES // max(1, matrix[:1].nbytes))
        for start in range(0, len(matrix), rows):
            hasher.update(np.ascontiguousarray(matrix[start : start + rows]).data)


def _add_table(hasher: Any, table: pd.DataFrame) -> None:
    """Add a table: the names of its rows and columns, and its values."""
    hasher.update(repr((table.shape, list(table.columns))).encode())
    _add_labels(hasher, table.index)
    types = list(table.dtypes)
    if types and _is_numeric(types[0]) and all(dtype == types[0] for dtype in types):
        _add_matrix(hasher, table.to_numpy())
        return
    for column in range(table.shape[1]):
        _add_labels(hasher, table.iloc[:, column])


def _is_numeric(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in "biufc"


def _add_labels(hasher: Any, labels: Any) -> None:
    """Add an index or a column; objects and categories of the same texts are equal."""
    if _is_numeric(labels.dtype):
        _add_matrix(hasher, labels.to_numpy())
        return
    items = labels.tolist()
    try:
        text = "\0".join(items)
    except TypeError:  # not all are texts
        text = repr(items)
    hasher.update(f"{len(items)}:".encode())
    hasher.update(text.encode("utf-8", "surrogatepass"))
