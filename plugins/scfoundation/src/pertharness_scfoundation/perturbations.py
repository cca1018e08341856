"""Which perturbations the graph model can take, and whether enough of them are left."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from pertharness import CONTROL, Skip, targets_of
from pertharness_foundation.loop import log_line

from pertharness_scfoundation.cells import Cells


def number_genes(terms: Collection[str], listed: Mapping[str, str]) -> dict[str, int]:
    """Return the number of each gene that can be perturbed, by its name in the terms and by that in the data.

    Parameters
    ----------
    terms
        Genes that have terms, in the order of the nodes of their graph.
    listed
        Name in the data -> name in the gene list, where they differ.
    """
    numbers = {gene: number for number, gene in enumerate(terms)}
    return {name: numbers[gene] for name, gene in listed.items() if gene in numbers} | numbers


def why_not(perturbation: str, vocabulary: Mapping[str, int]) -> str:
    """Return why a perturbation cannot be taken; empty if it can."""
    absent = [target for target in targets_of(perturbation) if target not in vocabulary]
    if not absent:
        return ""
    verb = "are" if len(absent) > 1 else "is"
    return f"{' and '.join(absent)} {verb} not in the Gene Ontology file, whose genes are what can be perturbed"


def choose_rows(cells: Cells, vocabulary: Mapping[str, int]) -> tuple[np.ndarray, list[str]]:
    """Return the rows of the cells that take part, and a note on the perturbations that are left out."""
    labels = list(dict.fromkeys(cells.labels))
    reasons = {label: why_not(label, vocabulary) for label in labels}
    left_out = [label for label in labels if reasons[label]]
    for label in left_out:
        log_line(f"{label} is left out: {reasons[label]}")
    notes = []
    if left_out:
        first = left_out[0]
        total = len(set(labels) - {CONTROL})
        notes.append(f"{len(left_out)} of {total} training perturbations are left out ({first!r}: {reasons[first]})")
    taken = np.array([not reasons[label] for label in cells.labels], dtype=bool)
    return np.flatnonzero(taken), notes


def check_enough(cells: Cells, batch_size: int) -> None:
    """Raise Skip if there are no control cells, no perturbed cells, or less cells than a batch."""
    is_control = cells.labels == CONTROL
    if not is_control.any() or is_control.all():
        which = "perturbed" if is_control.any() else "control"
        raise Skip(
            f"scFoundation has no {which} cells to train on: it needs both, with counts and, where perturbed, with "
            "targets in the Gene Ontology file"
        )
    if len(cells.labels) < batch_size:
        raise Skip(
            f"{len(cells.labels)} training cells are less than one batch of {batch_size}, and what is no full batch is "
            "left out; set a smaller batch_size"
        )


def genes_of(label: str, vocabulary: Mapping[str, int]) -> list[int]:
    """Return the numbers of the perturbed genes of a perturbation; none for the control."""
    return [vocabulary[target] for target in targets_of(label)]


def expressed_genes(expression: object, labels: np.ndarray, conditions: Sequence[str]) -> dict[str, np.ndarray]:
    """Return for each perturbation the genes whose mean is not 0, which its loss is taken over; all for the control."""
    expressed = {}
    for label in conditions:
        part = expression[np.flatnonzero(labels == label)]  # type: ignore[index]
        everything = np.arange(part.shape[1])
        expressed[label] = everything if label == CONTROL else everything[np.asarray(part.sum(axis=0)).ravel() != 0]
    return expressed
