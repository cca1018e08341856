"""The dataset that a command is called with, loaded if it is not in the store yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pertharness.host.run.load import LoadedRecord


def find_record(data: str, params: dict[str, Any], store: Path | None) -> LoadedRecord:
    """Return the record of a file or a dataset on offer such as ``demo``, in use until the command ends.

    Raises
    ------
    DataError
        If it cannot be loaded, with the reason.
    RecipeError
        If there is no such file and no such dataset, or the file leaves a choice that a flag decides.
    """
    from pertharness.host.cli.reporter import CommandReporter
    from pertharness.host.run.load import load_record
    from pertharness.host.store.records import Store

    loading = load_record(data, params, Store.open(store), CommandReporter())
    return click.get_current_context().with_resource(loading)
