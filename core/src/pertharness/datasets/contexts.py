"""Choose the context (cell line) of a file to use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from pertharness.contract.errors import ChoiceError, DataError
from pertharness.datasets.conditions import CONTEXT_COLUMNS
from pertharness.datasets.label_kinds import NoControlError
from pertharness.datasets.labelling import labels_in
from pertharness.datasets.options import NONE, FileOptions
from pertharness.datasets.perturbations import read_names
from pertharness.datasets.separators import quote

if TYPE_CHECKING:
    import pandas as pd

_NO_VALUE = "no value"


def choose_context(obs: pd.DataFrame, options: FileOptions, notes: list[str]) -> tuple[np.ndarray, str | None]:
    """Return the indices of the rows of the context in use, ascending, and its name, or None if it is unknown.

    Parameters
    ----------
    obs
        Table of the file.
    options
        The user's options, of which ``context_column`` and ``context`` are used.
    notes
        Receives a line on the context, and a line on the rows of other contexts.

    Raises
    ------
    ChoiceError
        If there are several contexts, or several columns of contexts.
    DataError
        If a column or a context that the user names does not exist.
    """
    column = _find_column(obs, options)
    if column is None:
        return np.arange(len(obs)), None
    values = _contexts_in(obs, column)
    contexts = [str(context) for context in values.unique()]
    if options.context is None and len(contexts) > 1:
        raise ChoiceError(
            f"obs[{column!r}] has {len(contexts)} values: {quote(contexts)}; expected one context: choose it with "
            f"--context, or pool them with --context-column {NONE}"
        )
    context = contexts[0] if options.context is None else options.context
    if context not in contexts:
        raise DataError(f"obs[{column!r}] has no {context!r} (--context); it has {quote(contexts)}")
    rows = np.flatnonzero((values == context).to_numpy())
    notes.append(f"context: {context!r} of obs[{column!r}], {len(rows)} of {len(obs)} rows")
    if len(rows) < len(obs):
        others = [other for other in contexts if other != context]
        notes.append(f"left out: {len(obs) - len(rows)} rows of other contexts ({quote(others, 3)})")
    return rows, context


def _find_column(obs: pd.DataFrame, options: FileOptions) -> str | None:
    """Return the column of ``obs`` with contexts; None if there is none, or if all contexts are pooled."""
    if options.context_column == NONE:
        return None
    if options.context_column is not None:
        if options.context_column not in obs:
            raise DataError(
                f"obs has no column {options.context_column!r} (--context-column); it has {quote(obs.columns, 20)}"
            )
        return options.context_column
    candidates = [str(column) for column in obs.columns if str(column).lower() in CONTEXT_COLUMNS]
    varying = [column for column in candidates if obs[column].nunique(dropna=False) > 1]
    if len(varying) > 1:
        raise ChoiceError(f"several columns of obs have contexts: {quote(varying)}; choose one with --context-column")
    column = next(iter(varying or candidates), None)
    if column is None and options.context is not None:
        raise DataError(f"--context {options.context!r}: no column has contexts; choose one with --context-column")
    return column


def _contexts_in(obs: pd.DataFrame, column: str) -> pd.Series:
    """Return the contexts of all rows as texts."""
    values = obs[column].astype(object)
    texts: pd.Series = values.where(values.notna(), _NO_VALUE).astype(str)
    return texts


@contextlib.contextmanager
def explaining_missing_controls(
    var: pd.DataFrame, obs: pd.DataFrame, rows: np.ndarray, options: FileOptions
) -> Iterator[None]:
    """Add the contexts that have controls to the error for missing controls.

    Parameters
    ----------
    var, obs
        Tables of the file.
    rows
        Indices of the rows of `obs` in the context in use.

    Raises
    ------
    DataError
        If the context has no controls, but another one has.
    """
    try:
        yield
    except NoControlError:
        column = _find_column(obs, options) if len(rows) < len(obs) else None
        elsewhere = _contexts_with_controls(var, obs, column, options) if column is not None else []
        if not elsewhere:
            raise
        raise DataError(
            f"the context {options.context!r} has no control cells; obs[{column!r}] has them in {quote(elsewhere)}, "
            "and changes are measured from controls of the same context: choose another one with --context, or pool "
            f"all contexts with --context-column {NONE}"
        ) from None


def _contexts_with_controls(var: pd.DataFrame, obs: pd.DataFrame, column: str, options: FileOptions) -> list[str]:
    """Return the contexts with controls; none if the labels of all rows together cannot be read."""
    try:
        _, labelling = read_names(var, obs, options, [])
    except DataError:
        return []
    is_control = labels_in(obs, labelling.column).isin(labelling.controls).to_numpy()
    return [str(context) for context in _contexts_in(obs, column)[is_control].unique()]
