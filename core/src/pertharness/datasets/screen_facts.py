"""Collect facts on a user's file and how it is read: from its tables, all labels, and the values of some cells.

Run as ``python -m pertharness.datasets.screen_facts`` with a JSON object on standard input: ``file`` and ``params``.
The facts are printed as one JSON object. If the file cannot be used, it has ``error`` and the facts found before it.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness.contract.errors import ChoiceError, DataError
from pertharness.contract.labels import targets_of
from pertharness.data.canonical import KEY, open_stored
from pertharness.data.containers import name_container
from pertharness.data.stored import Stored
from pertharness.data.streaming import Compressed, View, as_source, format_of
from pertharness.datasets.h5ad import (
    Tables,
    bring_to_scale,
    find_counts,
    naming_dataset,
    seal_dataset,
    understand_tables,
)  # fmt: skip
from pertharness.datasets.labelling import labels_in
from pertharness.datasets.options import FileOptions, check_options
from pertharness.datasets.sampled_cells import draw_cells

if TYPE_CHECKING:
    import pandas as pd

OTHER_CONDITIONS = "conditions that were not asked for"


def read_facts(file: Path, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts on a file and on how it is read.

    Returns
    -------
    dict
        Texts, numbers, lists and dicts: see docs/data-check.md. If a run could not use the file, ``error`` has
        the ``kind`` (``choice`` if the user must choose something, else ``data``) and the ``message``; facts that would
        be found later are missing.
    """
    facts: dict[str, Any] = {"file": str(file)}
    notes: list[str] = []
    try:
        options = check_options(FileOptions, "h5ad", params)
        stored = open_stored(file, options.modality_key)
        facts |= _describe_file(file, stored, options)
        with naming_dataset(file_name(facts)):
            _understand(facts, stored, options, notes)
    except DataError as error:
        facts["error"] = {"kind": "choice" if isinstance(error, ChoiceError) else "data", "message": str(error)}
    return facts | {"notes": notes}


def _understand(facts: dict[str, Any], stored: Stored, options: FileOptions, notes: list[str]) -> None:
    """Add facts step by step, so that those before an error are kept."""
    tables = understand_tables(stored, options, notes)
    facts |= _describe_tables(tables, options)
    sample = draw_cells(len(tables.rows))
    sampled = tables.rows if sample is None else tables.rows[sample]
    facts["scale"] = {"read_as": None, "n_judged": len(sampled), "n_rows": len(tables.rows)}
    of_scale: list[str] = []
    scaled = bring_to_scale(tables, options, of_scale, sample)
    notes += of_scale
    facts["scale"]["read_as"] = "; ".join(line.removeprefix("scale: ") for line in of_scale)
    facts["has_counts"] = tables.level == "cells" and bool(find_counts(tables.adata, sampled, scaled)[0])
    dataset = Stored(scaled.matrix, tables.obs, tables.var, {})
    sealed = seal_dataset(dataset, tables, options, file_name(facts), "", notes)
    facts["modality"] = sealed.uns[KEY].get("modality")


def file_name(facts: Mapping[str, Any]) -> str:
    """Return the name of the dataset in a file: the file's name without suffix."""
    return Path(facts["file"]).stem.removesuffix(".zarr")


def _describe_file(file: Path, stored: Stored, options: FileOptions) -> dict[str, Any]:
    """Return facts on the file itself, before its content is interpreted."""
    matrix = stored.X if options.layer is None else stored.layers.get(options.layer)
    if matrix is None and options.layer is not None and stored.raw is not None:
        matrix = stored.raw.X
    return {
        "container": name_container(file),
        "size_mb": round(_size_of(file) / 1e6, 1),
        "n_obs": stored.n_obs,
        "n_genes": stored.n_vars,
        "matrix": None if matrix is None else _describe_matrix(matrix),
        "layers": sorted(str(name) for name in stored.layers),
        "obs_columns": [str(column) for column in stored.obs.columns],
    }


def _size_of(file: Path) -> int:
    """Return the size of a file, or of all files in a folder, in bytes."""
    return sum(path.stat().st_size for path in ([file] if file.is_file() else file.rglob("*")) if path.is_file())


def _describe_matrix(matrix: Any) -> dict[str, Any]:
    """Return facts on how values are stored."""
    source = as_source(matrix)
    while isinstance(source, View):
        source = source.source
    array = source.data if isinstance(source, Compressed) else source
    packed = getattr(array, "compression", None) or next(iter(getattr(array, "compressors", None) or ()), None)
    return {
        "layout": format_of(source),
        "type": str(source.dtype),
        "compression": packed if isinstance(packed, str) or packed is None else type(packed).__name__,
    }


def _describe_tables(tables: Tables, options: FileOptions) -> dict[str, Any]:
    """Return facts from the tables of a file."""
    labelling, file_obs = tables.labelling, tables.adata.obs
    labels = labels_in(file_obs, labelling.column)
    n_rows = labels.iloc[tables.rows].value_counts()
    perturbations = _list_perturbations(tables)
    genes = [gene for perturbation in perturbations for gene in targets_of(perturbation["genes"])]
    distinct = dict.fromkeys(genes)
    genes_of_file = set(tables.var.index)
    return {
        "n_in_context": len(tables.in_context),
        "n_used": len(tables.rows),
        "level": tables.level,
        "context": tables.context,
        "labels": {
            "column": labelling.column,
            "controls": [{"label": label, "n_rows": int(n_rows.get(label, 0))} for label in labelling.controls],
            "separator": labelling.separator,
            "n_guide_labels": len(labelling.of_guides),
        },
        "left_out": _list_left_out(labels.iloc[tables.in_context], tables),
        "genes": {"ensembl_ids": "ensembl_id" in tables.var},
        "targets": {
            "n": len(distinct),
            "n_genes": sum(gene in genes_of_file for gene in distinct),
            "absent": sorted(gene for gene in distinct if gene not in genes_of_file),
        },
        "has_totals": "total_counts" in tables.obs,
        "has_halves": {"half_a", "half_b"} <= {*tables.adata.layers},
        "perturbations": perturbations,
    }


def _list_perturbations(tables: Tables) -> list[dict[str, Any]]:
    """Return facts on each perturbation and the control, in order of first appearance."""
    import pandas as pd

    obs, genes = tables.obs, tables.labelling.genes
    codes, names = pd.factorize(obs["perturbation"].astype(object))
    first = np.unique(codes, return_index=True)[1]
    labels_given = obs["label_given"].astype(object).to_numpy()[first]
    n_cells: Sequence[Any] = [None] * len(names)
    if tables.level == "cells":
        n_cells = np.bincount(codes).tolist()
    elif "n_cells" in obs:
        n_cells = obs["n_cells"].to_numpy()[first].tolist()
    return [
        {"perturbation": str(name), "label_given": str(label), "genes": genes.get(name, str(name)), "n_cells": number}
        for name, label, number in zip(names, labels_given, n_cells, strict=True)
    ]


def _list_left_out(labels: pd.Series, tables: Tables) -> list[dict[str, Any]]:
    """Return facts on the rows of the context that are left out, by reason."""
    reasons = tables.labelling.left_out
    counts = labels[labels.isin(list(reasons))].value_counts()
    left_out = []
    for reason in dict.fromkeys(reasons.values()):
        names = [label for label, why in reasons.items() if why == reason]
        n_rows = int(sum(counts.get(label, 0) for label in names))
        left_out.append({"n_rows": n_rows, "labels": names, "reason": reason})
    n_others = len(tables.in_context) - int(counts.sum()) - len(tables.rows)
    return left_out + ([{"n_rows": n_others, "labels": [], "reason": OTHER_CONDITIONS}] if n_others else [])


def main() -> int:
    """Print the facts on the file named on standard input."""
    request = json.loads(sys.stdin.read())
    with contextlib.redirect_stdout(sys.stderr):  # libraries print, too
        facts = read_facts(Path(request["file"]), request["params"])
    print(json.dumps(facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
