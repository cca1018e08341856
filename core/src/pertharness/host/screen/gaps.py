"""List what a screen lacks or leaves out, and what its user could change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from pertharness.contract.labels import CONTROL

FEW_CELLS = 10
"""With fewer cells, the standard error of a mean exceeds a third of the sd of single cells: 1 / sqrt(10) = 0.32."""
_SHOWN = 3


def describe_cells(perturbations: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the numbers of cells of the perturbations; None if they are not known.

    Returns
    -------
    dict
        ``control``, ``median``, ``least`` and ``most`` per perturbation, and ``few``: perturbation -> number, of those
        that have fewer than `FEW_CELLS`.
    """
    numbers = {perturbation["perturbation"]: perturbation["n_cells"] for perturbation in perturbations}
    if any(number is None for number in numbers.values()):
        return None
    control = numbers.pop(CONTROL)
    few = {name: number for name, number in sorted(numbers.items(), key=lambda x: x[1]) if number < FEW_CELLS}
    return {
        "control": control, "median": median(numbers.values()), "least": min(numbers.values()),
        "most": max(numbers.values()), "few": few,
    }  # fmt: skip


def list_gaps(facts: Mapping[str, Any]) -> list[str]:
    """Return what a run leaves out of a screen, with numbers and reasons, and what the file lacks."""
    return [*_left_out(facts), *_not_there(facts)]


def _left_out(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a run leaves out."""
    yield from (note for note in facts["notes"] if note.startswith("left out: "))
    absent = facts["targets"]["absent"]
    if absent:
        n = facts["targets"]["n"]
        yield f"unknown genes: {len(absent)} of {count(n, 'target')}; whether these moved cannot be seen in the file"
    if facts["cells"] and facts["cells"]["few"]:
        few = [f"{name!r} {number}" for name, number in facts["cells"]["few"].items()]
        shown = ", ".join(few[:_SHOWN]) + (", ..." if len(few) > _SHOWN else "")
        number = count(len(few), "perturbation")
        yield f"few cells: {number} of fewer than {FEW_CELLS} cells ({shown}): kept, with noisy means"


def _not_there(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a file lacks."""
    if facts["level"] == "cells" and not facts["has_counts"]:
        yield "no raw counts: models that are trained on counts have to work them out from the logs"
    if facts["level"] == "pseudobulk" and not facts["has_halves"]:
        yield "no cells: models that need cells are left out, and how well a measurement repeats is unknown"
    if facts["level"] == "cells" and "file" in facts and not any(x.startswith("batches: ") for x in facts["notes"]):
        yield "no batches: no column of obs separates batches, replicates, lanes or donors"
    if facts["modality"] is None:
        yield "no modality: whether a target moved in the right direction is not judged"
    if facts["context"] is None:
        yield "no context: no column of obs names the cell line"
    if not facts["genes"]["ensembl_ids"]:
        yield "no Ensembl ids: models that know genes by them go by the symbols"


def list_changes(facts: Mapping[str, Any]) -> list[str]:
    """Return the changes that the user could make, each with its flag."""
    changes = [note for note in facts["notes"] if " --" in note or "(--" in note]
    of_scale = [note for note in changes if note.startswith("scale: ")]
    changes = [note for note in changes if note not in of_scale]
    if facts["level"] == "pseudobulk" and of_scale:
        changes.append("--scale log1p declares the means to be of log1p of counts per 10 000, which cannot be checked")
    targets = facts["targets"]
    if targets["n"] and not targets["n_genes"]:
        changes.append(
            "no target is a gene of the file: --target-column the column of var with the names in the labels, "
            "--gene-column the column of gene names, --label-map the meaning of each label"
        )
    if facts["modality"] is None:
        changes.append("--modality crispra, crispri or ko: what was done to the targets")
    return changes


def count(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1."""
    return f"{group(number)} {noun}{'' if number == 1 else 's'}"


def group(number: float) -> str:
    """Return a number with its digits in groups of three: 600 000."""
    return f"{number:,.1f}".removesuffix(".0").replace(",", " ")


def some(names: Sequence[str], most: int = _SHOWN) -> str:
    """Return the first few names, quoted."""
    return ", ".join(repr(name) for name in names[:most]) + (", ..." if len(names) > most else "")
