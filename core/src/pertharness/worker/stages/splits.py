"""The stages ``splits`` and ``halves``: parts of a dataset, made by the core itself."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from pertharness.contract.stages import HALVES, SPLIT, TRAIN, VAL
from pertharness.worker.split_file import read_split
from pertharness.worker.stages.result import Result

if TYPE_CHECKING:
    from pathlib import Path

    from pertharness.contract.jobs import Job, Phase


def write_parts(job: Job, folder: Path, phases: list[Phase]) -> Result:
    """Write train and val, as cells or as means: the only expression that a model job can name."""
    from pertharness.data import canonical

    split = read_split(job.inputs["drawn"])
    shutil.copyfile(job.inputs["drawn"], folder / SPLIT)
    adata = canonical.open_stored(job.inputs["dataset"])
    names = [SPLIT]
    for part, name in (("train", TRAIN), ("val", VAL)):
        if split[part]:
            canonical.write(canonical.select(adata, split[part]), folder / name)
            names.append(name)
    return Result(names)


def write_halves(job: Job, folder: Path, phases: list[Phase]) -> Result:
    """Write the means over two halves of each perturbation's cells, which only score jobs read."""
    import numpy as np

    from pertharness.data import canonical, halves

    adata = canonical.open_stored(job.inputs["dataset"])
    canonical.write(halves.halve(adata, np.random.default_rng(job.seed)), folder / HALVES)
    return Result([HALVES])
