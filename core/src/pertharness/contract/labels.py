"""Perturbation labels: ``control``, ``KLF1``, ``CEBPE+KLF1`` (targets sorted, joined by ``+``)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

from pertharness.contract.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

CONTROL = "control"
SEPARATOR = "+"


def join_targets(targets: Iterable[str]) -> str:
    """Return the label of the perturbation of these targets; of none, ``control``.

    Raises
    ------
    DataError
        If a target is empty, is ``control``, holds a ``+`` or white space at its ends, or is named twice.
    """
    names = sorted(targets)
    for name in names:
        if not name or name != name.strip() or SEPARATOR in name or name == CONTROL:
            raise DataError(f"{name!r} cannot be a target: expected a gene name, not empty, without {SEPARATOR!r}")
    for first, second in pairwise(names):
        if first == second:
            raise DataError(f"the target {first!r} is named twice in {SEPARATOR.join(names)!r}; name each target once")
    return SEPARATOR.join(names) if names else CONTROL


def targets_of(perturbation: str) -> tuple[str, ...]:
    """Return the targets of a perturbation, sorted; of ``control``, none.

    Raises
    ------
    DataError
        If the label is not in the canonical form.
    """
    if perturbation == CONTROL:
        return ()
    targets = tuple(perturbation.split(SEPARATOR))
    if join_targets(targets) != perturbation:
        raise DataError(f"{perturbation!r} is not a canonical label; expected {join_targets(targets)!r}")
    return targets


def target_genes(obs: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Return perturbation -> the genes of its targets: those of ``obs["genes"]`` where targets are guides of genes.

    Parameters
    ----------
    obs
        Of a dataset, or of a selection of it, with ``perturbation``.
    """
    labels = obs["perturbation"].astype(object)
    genes = obs["genes"].astype(object) if "genes" in obs else labels
    return {str(label): targets_of(str(of_label)) for label, of_label in dict(zip(labels, genes, strict=True)).items()}
