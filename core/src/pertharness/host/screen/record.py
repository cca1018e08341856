"""Read the facts of a plugin's dataset from its record in the store."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pertharness.contract.labels import CONTROL, targets_of
from pertharness.contract.stages import DATASET, FACTS, PERTURBATIONS
from pertharness.data.streaming import format_of
from pertharness.host.screen.inspect_file import Facts


def facts_of_record(folder: Path, notes: Sequence[str]) -> Facts:
    """Return the facts of a dataset's record: those of `host.screen.inspect_file`, as far as they are known.

    Parameters
    ----------
    folder
        Folder of the record.
    notes
        Notes of loading the dataset.
    """
    from pertharness.data.expression import open_stored

    stored_facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    dataset = open_stored(folder / DATASET)
    perturbations = _read_perturbations(folder / PERTURBATIONS)
    genes = {*dataset.var_names}
    distinct = list(dict.fromkeys(gene for row in perturbations for gene in targets_of(row["genes"])))
    control = next(row for row in perturbations if row["perturbation"] == CONTROL)
    n_rows = int((dataset.obs["perturbation"] == CONTROL).sum())
    return {
        "origin": stored_facts.get("origin"),
        "container": "h5ad in the store",
        "size_mb": round((folder / DATASET).stat().st_size / 1e6, 1),
        "n_obs": stored_facts["n_obs"],
        "n_genes": stored_facts["n_genes"],
        "matrix": {"layout": format_of(dataset.X), "type": str(dataset.X.dtype), "compression": None},
        "layers": sorted(dataset.layers),
        "n_in_context": stored_facts["n_obs"],
        "n_used": stored_facts["n_obs"],
        "level": stored_facts["level"],
        "context": str(dataset.obs["context"].iloc[0]) if "context" in dataset.obs else None,
        "modality": stored_facts.get("modality"),
        "labels": {"controls": [{"label": control["label_given"], "n_rows": n_rows}]},
        "left_out": [],
        "genes": {"ensembl_ids": "ensembl_id" in dataset.var},
        "targets": {
            "n": len(distinct),
            "n_genes": sum(gene in genes for gene in distinct),
            "absent": sorted(gene for gene in distinct if gene not in genes),
        },
        "has_totals": "total_counts" in dataset.obs,
        "has_counts": "counts" in dataset.layers,
        "has_halves": {"half_a", "half_b"} <= {*dataset.layers},
        "scale": {"read_as": _scale_in(notes), "n_judged": stored_facts["n_obs"], "n_rows": stored_facts["n_obs"]},
        "perturbations": perturbations,
        "notes": list(notes),
    }


def _read_perturbations(path: Path) -> list[dict[str, Any]]:
    """Return the perturbations of a record, control included."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {
                "perturbation": row["perturbation"],
                "label_given": row["label_given"],
                "genes": row.get("genes") or row["perturbation"],
                "n_cells": int(row["n_cells"]) if row["n_cells"] else None,
            }
            for row in csv.DictReader(file)
        ]


def _scale_in(notes: Sequence[str]) -> str:
    """Return the notes on the scale; without any, the scale of every canonical dataset."""
    of_scale = [note.removeprefix("scale: ") for note in notes if note.startswith("scale: ")]
    return "; ".join(of_scale) or "log1p of counts per 10 000"
