"""Columns as integers, positions among sorted distinct values, by which millions of rows are sorted and grouped."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

_LARGEST = 2**62


class Coded(NamedTuple):
    """A column: the position of each cell in `values`, shape (n_rows,), and its distinct values, sorted."""

    codes: np.ndarray
    values: np.ndarray

    @property
    def size(self) -> int:
        """Number of distinct values."""
        return len(self.values)

    def find(self, value: object) -> int:
        """Return the position of a value, -1 if it does not occur."""
        positions = np.flatnonzero(self.values == value)
        return int(positions[0]) if len(positions) else -1

    def cells(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return the values of rows."""
        cells: np.ndarray = self.values[self.codes[rows]]
        return cells


def code(column: pd.Series) -> Coded:
    """Return a column as integers; NaN has the code -1.

    A column of the dtype ``category`` is converted by its categories, not cell by cell.
    """
    if not isinstance(column.dtype, pd.CategoricalDtype):
        codes, values = pd.factorize(column, sort=True)
        return Coded(codes.astype(np.min_scalar_type(-len(values) - 1)), np.asarray(values))
    category_codes = column.cat.codes.to_numpy()
    names = np.asarray(column.cat.categories, dtype=object)
    used = np.flatnonzero(np.bincount(category_codes[category_codes >= 0], minlength=len(names)))
    ordered = np.array(sorted(used, key=names.__getitem__), dtype=np.intp)
    new_code = np.full(len(names) + 1, -1, dtype=category_codes.dtype)  # the last entry is for -1
    new_code[ordered] = np.arange(len(ordered))
    return Coded(new_code[category_codes], names[ordered])


def combine(*columns: tuple[np.ndarray, int]) -> np.ndarray:
    """Return one integer per row that sorts as the rows do: by the first column, then by the next, and so on.

    Parameters
    ----------
    columns
        Pairs of codes, shape (n_rows,), and a number above all of them; codes start at 0.
    """
    key = np.zeros(len(columns[0][0]), dtype=np.int64)
    span = 1
    for codes, size in columns:
        if span * max(size, 1) >= _LARGEST:
            key = pd.factorize(key, sort=True)[0].astype(np.int64)
            span = int(key.max(initial=0)) + 1
        key *= max(size, 1)
        key += codes
        span *= max(size, 1)
    return key
