"""The stage ``oracles``: observed values of held-out cells, for the models whose cards declare that they use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pertharness.contract.jobs import GENE_LIST
from pertharness.contract.options import OracleOptions, options_of
from pertharness.contract.stages import ORACLE
from pertharness.worker.split_file import read_split
from pertharness.worker.stages.result import Result

if TYPE_CHECKING:
    from pathlib import Path

    from pertharness.contract.jobs import Job, Phase


def write_oracle(job: Job, folder: Path, phases: list[Phase]) -> Result:
    """Write the values of the target genes in the cells of the queries, and facts on these cells."""
    from pertharness.data import canonical
    from pertharness.data.gene_list import read_gene_list
    from pertharness.data.oracle import observe_targets

    split = read_split(job.inputs["split"])
    queries = [query for part in options_of(job, OracleOptions).score_on for query in split[part]]
    genes = read_gene_list(job.inputs[GENE_LIST]) if GENE_LIST in job.inputs else None
    adata = canonical.open_stored(job.inputs["dataset"])
    oracle = observe_targets(adata, queries, genes)
    canonical.write(oracle, folder / ORACLE)
    return Result([ORACLE], notes=_notes(adata.var_names, genes))


def _notes(measured: list[str], genes: list[str] | None) -> list[str]:
    """Return how many genes of a model's list the dataset has."""
    if genes is None:
        return []
    return [f"{len(set(genes).intersection(measured))} of the {len(genes)} genes of the list are measured"]
