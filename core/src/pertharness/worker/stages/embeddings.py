"""The stage ``embeddings``: a vector for each gene of the data, or for each target of the split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pertharness.contract.jobs import SCRATCH
from pertharness.contract.labels import CONTROL, targets_of
from pertharness.contract.options import EmbeddingOptions, options_of
from pertharness.contract.stages import EMBEDDING
from pertharness.worker.hooks import guarded_hooks, implemented
from pertharness.worker.split_file import read_split
from pertharness.worker.stages.job_data import read_references
from pertharness.worker.stages.result import Result

if TYPE_CHECKING:
    from pathlib import Path

    from pertharness.contract.jobs import Job, Phase


def write_embedding_of_split(job: Job, folder: Path, phases: list[Phase]) -> Result:
    """Write an embedding of the data's genes, or of the split's targets and the control."""
    from pertharness.data import canonical
    from pertharness.data.embeddings import write_embedding

    train, options = canonical.read(job.inputs["train"]), options_of(job, EmbeddingOptions)
    kind, split = options.kind, read_split(job.inputs["split"])
    perturbations = [*options.queries, *(label for part in ("train", "val", "test") for label in split[part])]
    targets = {target for label in perturbations for target in targets_of(label)}
    labels = [str(gene) for gene in train.var_names] if kind == "gene" else [CONTROL, *sorted(targets)]
    table = implemented(guarded_hooks(job, phases), "embed", job)(
        name=job.name, kind=kind, source=job.inputs.get("source"), train=train, references=read_references(job),
        labels=labels, files=job.files(), params=job.params, device=job.device, seed=job.seed,
        workdir=folder.parent / SCRATCH,
    )  # fmt: skip
    write_embedding(table, folder / EMBEDDING)
    # The control needs no embedding: models handle it themselves.
    without = [label for label in labels if label not in table.index and label != CONTROL]
    note = f"{len(without)} of {len(set(labels) - {CONTROL})} labels have no embedding"
    return Result([EMBEDDING], notes=[note] if without else [])
