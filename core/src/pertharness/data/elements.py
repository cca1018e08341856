"""Read the tables ``obs`` and ``var``, and other small elements, of an anndata file."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

_OLD_CATEGORIES = "__categories"
"""Group of a table in which anndata 0.6 and SeuratDisk store the categories of coded columns."""


def read_element(element: Any) -> Any:
    """Read an element of a file with anndata."""
    try:
        from anndata.io import read_elem
    except ImportError:  # anndata < 0.11
        from anndata.experimental import read_elem
    return read_elem(element)


def is_null(element: Any) -> bool:
    """Return whether an element of a file stands for None."""
    return str(element.attrs.get("encoding-type", "")) == "null"


def read_table(group: Any) -> pd.DataFrame:
    """Read a table, and decode the categorical columns of SeuratDisk."""
    table: pd.DataFrame = read_element(group)
    if _OLD_CATEGORIES not in group:
        return table
    categories_group = group[_OLD_CATEGORIES]
    for column in [column for column in table.columns if column in categories_group]:
        codes = table[column].to_numpy()
        categories = np.asarray([_text(value) for value in categories_group[column][:]], dtype=object)
        if codes.dtype.kind in "iu" and len(codes) and codes.min() >= -1 and codes.max() < len(categories):
            table[column] = _categories_of(codes, categories)
    return table


def _categories_of(codes: np.ndarray, categories: np.ndarray) -> pd.Categorical:
    """Return a categorical of codes; the code -1 means missing."""
    import pandas as pd

    return pd.Categorical.from_codes(codes, categories=pd.Index(categories, dtype=object))


def _text(value: Any) -> Any:
    """Return bytes decoded as UTF-8; return other values unchanged."""
    return value.decode("utf-8") if isinstance(value, bytes) else value


def take_shared(obs: pd.DataFrame, shared: pd.DataFrame, modality: str, modalities: Collection[str]) -> pd.DataFrame:
    """Return the table of a modality, extended by the columns that a MuData stores for all modalities.

    Parameters
    ----------
    obs
        Table of the modality; its own columns take precedence.
    shared
        Table of the MuData. A column ``MODALITY:NAME`` belongs to one modality.
    """
    if not obs.index.is_unique or not shared.index.is_unique or not obs.index.isin(shared.index).all():
        return obs
    columns: dict[str, str] = {}
    for column in map(str, shared.columns):
        of, colon, name = column.partition(":")
        is_of_one = bool(colon) and of in modalities
        if not is_of_one or of == modality:
            columns.setdefault(name if is_of_one else column, column)
    rows = shared.loc[obs.index]
    return obs.assign(**{name: rows[column] for name, column in columns.items() if name not in obs})
