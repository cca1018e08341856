"""The models on offer."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from pertharness.host.plugins.registry import open_registry
from pertharness.host.run.prepare import describe_problem

if TYPE_CHECKING:
    import pandas as pd


def list_models() -> pd.DataFrame:
    """Return the models that the installed plugins, and those with environments, offer.

    Returns
    -------
    DataFrame
        One row per model, by ``name``: plugin, version, tasks, input (``cells`` or ``pseudobulk``), output,
        information (what it knows) and summary.

    Warns
    -----
    UserWarning
        For each plugin that cannot be used, with the reason.
    """
    import pandas as pd

    registry = open_registry()
    for problem in registry.problems:
        warnings.warn(describe_problem(problem), stacklevel=2)
    rows = [
        {
            "name": name, "plugin": offered.plugin.ref.name, "version": offered.plugin.ref.version,
            "tasks": ", ".join(offered.offer.tasks), "input": offered.offer.input, "output": offered.offer.output,
            "information": offered.offer.information, "summary": offered.offer.summary,
        }
        for name, offered in sorted(registry.models.items())
    ]  # fmt: skip
    columns = ["name", "plugin", "version", "tasks", "input", "output", "information", "summary"]
    frame: pd.DataFrame = pd.DataFrame(rows, columns=columns)
    return frame
