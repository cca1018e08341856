"""A dataset that stays on disk; a plugin may return one in place of an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


class Streamed(Protocol):
    """The parts of an AnnData, with matrices that are read a few megabytes at a time.

    ``pertharness.data.canonical.open_stored`` opens a file in this form.
    """

    X: Any
    obs: pd.DataFrame
    var: pd.DataFrame
    uns: dict[str, Any]
    layers: dict[str, Any]

    def to_memory(self) -> AnnData:
        """Read the whole dataset into memory."""
        ...
