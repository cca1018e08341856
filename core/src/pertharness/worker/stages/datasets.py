"""The stage ``datasets``: cells in the canonical form, their means, and a description of both."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pertharness.contract.options import DatasetOptions, options_of
from pertharness.contract.stages import DATASET, FACTS, PERTURBATIONS, PSEUDOBULK
from pertharness.worker.hooks import guarded_hooks, implemented
from pertharness.worker.stages.result import Result

if TYPE_CHECKING:
    from pathlib import Path

    from pertharness.contract.jobs import Job, Phase


def write_dataset(job: Job, folder: Path, phases: list[Phase]) -> Result:
    """Write a dataset under its name in the recipe."""
    from pertharness.data import canonical

    options = options_of(job, DatasetOptions)
    load = implemented(guarded_hooks(job, phases), "load_dataset", job)
    adata = load(name=job.name, source=job.inputs.get("source"), params=job.params)
    fields = dict(adata.uns["pertharness"])
    adata.uns["pertharness"] = {**fields, "name": options.dataset}
    canonical.write(adata, folder / DATASET)
    # From the written file, which is uncompressed and has the final values.
    means = canonical.pseudobulk(canonical.open_stored(folder / DATASET))
    canonical.write(means, folder / PSEUDOBULK)
    canonical.describe_perturbations(means).to_csv(folder / PERTURBATIONS, index=False)
    facts = {
        "n_obs": adata.n_obs,
        "n_genes": adata.n_vars,
        **{k: fields[k] for k in ("level", "modality", "origin") if k in fields},
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=1, default=str), encoding="utf-8")
    notes = fields.get("notes", "")
    lines = notes.splitlines() if isinstance(notes, str) else [str(line) for line in notes]
    return Result([DATASET, PSEUDOBULK, PERTURBATIONS, FACTS], notes=lines)
