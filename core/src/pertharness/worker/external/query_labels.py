"""Read perturbations that a user asks for, in the same way as the labels of the dataset.

Run as ``python -m pertharness.worker.external.query_labels`` with a JSON object on standard input: ``queries`` as a
user writes them, ``dataset`` (the folder of its record) and ``params`` of its labels. The answer is a JSON object:
query -> perturbation.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from pertharness.contract.errors import DataError, PertharnessError
from pertharness.contract.labels import CONTROL, SEPARATOR, join_targets
from pertharness.contract.stages import PERTURBATIONS, PSEUDOBULK
from pertharness.data.label_map import clean_text
from pertharness.datasets.options import NONE
from pertharness.datasets.targets import key_of_name
from pertharness.worker.external.labels import DataLabels, LabelReader, unambiguous_cases


def main() -> int:
    """Print the perturbations and return 0, or return 1 with the reason on standard error."""
    request = json.loads(sys.stdin.read())
    try:
        labels = labels_of_record(Path(request["dataset"]), request["params"])
        print(json.dumps(read_queries(request["queries"], labels)))
    except PertharnessError as error:
        print(str(error), file=sys.stderr)
        return 1
    return 0


def labels_of_record(folder: Path, params: Mapping[str, Any]) -> DataLabels:
    """Return the labels and genes of a dataset's record; `params`: how the labels of its file were read."""
    from pertharness.data import canonical

    with (folder / PERTURBATIONS).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    spellings = {row["label_given"]: row["perturbation"] for row in rows if row["label_given"] != row["perturbation"]}
    var = canonical.read(folder / PSEUDOBULK).var
    genes = [str(gene) for gene in var.index]
    ids = {key_of_name(str(name)): gene for name, gene in zip(var.get("ensembl_id", []), genes, strict=False)}
    return DataLabels.of(spellings, [row["perturbation"] for row in rows], set(genes), ids, params)


def read_queries(queries: Iterable[str], data: DataLabels) -> dict[str, str]:
    """Return the perturbation that each query means; the dataset may lack it, or its genes.

    The order of targets does not matter, nor does case where only one gene is meant.

    Raises
    ------
    DataError
        If a query is empty or the control, can be read in two ways, or names a target twice.
    """
    reader = LabelReader(data)
    cases = unambiguous_cases({*reader.targets, *data.genes})
    return {query: _read_query(query, reader, cases) for query in queries}


def _read_query(query: str, reader: LabelReader, cases: Mapping[str, str]) -> str:
    """Return the perturbation that one query means."""
    perturbation = reader.read(query)
    if query in reader.faults:
        raise DataError(f"query {query!r}: {reader.faults[query]}")
    if perturbation in reader.perturbations and perturbation != CONTROL:
        return str(perturbation)
    parts = [clean_text(part) for part in _parts(clean_text(query), reader.options.separator)]
    if not all(parts):
        raise DataError(f"query {query!r} has no target, or an empty one; expected genes, such as KLF1 or CEBPE+KLF1")
    targets = [target for part in parts for target in _targets_of(part, reader, cases)]
    if not targets:
        raise DataError(f"query {query!r} is the control; expected a perturbation, such as KLF1 or CEBPE+KLF1")
    try:
        return join_targets(targets)
    except DataError as error:
        raise DataError(f"query {query!r}: {error}") from None


def _parts(query: str, separator: str | None) -> list[str]:
    """Return the targets of a query as written: the separators of the dataset and of the harness divide it."""
    if separator == NONE:
        return [query]
    return [part for piece in query.split(SEPARATOR) for part in (piece.split(separator) if separator else [piece])]


def _targets_of(part: str, reader: LabelReader, cases: Mapping[str, str]) -> Collection[str]:
    """Return the targets that a part of a query means: none for a control, the text itself for an unknown gene."""
    meaning = reader.read(part)
    if meaning == CONTROL:
        return []
    if meaning in reader.singles:
        return [str(meaning)]
    if part in reader.targets or part in reader.data.genes:
        return [part]
    other_name = reader.data.ids.get(key_of_name(part))
    return [other_name or cases.get(part.upper(), part)]


if __name__ == "__main__":
    sys.exit(main())
