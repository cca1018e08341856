"""The stage ``side_files``: a file that a plugin makes for a dataset, from the dataset's parameters only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pertharness.contract.errors import ContractError
from pertharness.contract.options import SideFileOptions, options_of
from pertharness.worker.hooks import guarded_hooks, implemented
from pertharness.worker.stages.result import Result

if TYPE_CHECKING:
    from pathlib import Path

    from pertharness.contract.jobs import Job, Phase


def write_side_file(job: Job, folder: Path, phases: list[Phase]) -> Result:
    """Let the plugin write the file that its card declares.

    Raises
    ------
    ContractError
        If the hook wrote no such file.
    """
    name = options_of(job, SideFileOptions).file
    make = implemented(guarded_hooks(job, phases), "make_side_file", job)
    make(name=job.name, file=name, params=job.params, path=folder / name)
    if not (folder / name).is_file():
        hook = f"plugin {job.plugin.name!r}, hook make_side_file({job.name!r})"
        raise ContractError(f"{hook}: there is no {name!r} after the call; write it to 'path'")
    return Result([name])
