"""What an embedding is requested for, and its rows in the form of the hook's answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pertharness import CONTROL, DataError, Skip

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

CONTROL_SPELLINGS = {"ctrl": CONTROL}
"""Of the control in files: GEARS and the authors' tables write ``ctrl``."""


@dataclass(frozen=True)
class Request:
    """The arguments of the hook ``embed``.

    Attributes
    ----------
    kind
        ``gene`` or ``perturbation``.
    labels
        What may have a row; of perturbations the targets of the task, and ``control``.
    source
        The file that the recipe names, of an embedding that takes one.
    train
        Means of the training perturbations and the control, log1p CP10k.
    reference
        Means of another screen with its name, of an embedding that takes one.
    """

    kind: str
    labels: list[str]
    source: Path | None
    train: AnnData
    reference: tuple[str, AnnData] | None
    seed: int


def answer(
    request: Request, names: Iterable[str], values: np.ndarray, where: str, has_row: np.ndarray | None = None
) -> pd.DataFrame:
    """Return the rows of the requested labels, in their order; columns ``d1``, ``d2``, ...

    Parameters
    ----------
    request
        The request.
    names, values
        Labels and rows of all that there is, shape (n_names, k).
    where
        What it was found in, for messages.
    has_row
        Which rows carry information, shape (n_names,); the others are left out, since zeros would pass for an answer.
        None: all.

    Raises
    ------
    DataError
        If a label occurs twice.
    Skip
        If none of them was requested.
    """
    import pandas as pd

    row_names = [CONTROL_SPELLINGS.get(str(name), str(name)) for name in names]
    rows = {name: row for row, name in enumerate(row_names)}
    if len(rows) < len(row_names):
        twice = next(name for row, name in enumerate(row_names) if rows[name] != row)
        raise DataError(f"{where}: the label {twice!r} has more than one row; give it one")
    covered = [label for label in request.labels if label in rows and (has_row is None or has_row[rows[label]])]
    if not set(covered) - {CONTROL}:
        first_label = next((label for label in request.labels if label != CONTROL), None)
        raise Skip(
            f"{where} shares no {request.kind} with the task (there: {', '.join(map(repr, row_names[:3]))}, ...; "
            f"requested: {first_label!r}, ...); expected gene symbols as in the screen"
        )
    columns = [f"d{i + 1}" for i in range(values.shape[1])]
    return pd.DataFrame(
        values[[rows[label] for label in covered]], index=pd.Index(covered, name="label"), columns=columns
    )


def not_zeros(values: np.ndarray) -> np.ndarray:
    """Return which rows exceed rounding error, shape (n,); rows of genes far from all dimensions do not."""
    lengths = np.linalg.norm(values, axis=1)
    nonzero: np.ndarray = lengths > 1e-12 * lengths.max()  # eigenvectors of length 1 are off by some 1e-15
    return nonzero


def check_k(name: str, k: int) -> None:
    """Refuse a number of dimensions below 1.

    Raises
    ------
    DataError
        If it is.
    """
    if k < 1:
        raise DataError(f"{name}: expected k of at least 1, got {k!r}")
