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
    """Return the label of the perturbation with these targets, or ``control`` if there are none.

    Raises
    ------
    DataError
        If a target is empty, is ``control``, contains ``+``, begins or ends with white space, or occurs twice.
    """
    names = sorted(targets)
    for name in names:
        if not name or name != name.strip() or SEPARATOR in name or name == CONTROL:
            raise DataError(f"{name!r} cannot be a target: expected a gene name, not empty, without {SEPARATOR!r}")
    for first, second in pairwise(names):
        if first == second:
            raise DataError(f"duplicate target {first!r} in {SEPARATOR.join(names)!r}; name each target once")
    return SEPARATOR.join(names) if names else CONTROL


def targets_of(perturbation: str) -> tuple[str, ...]:
    """Return the targets of a perturbation, sorted; ``control`` has none.

    Raises
    ------
    DataError
        If the label is not canonical.
    """
    if perturbation == CONTROL:
        return ()
    targets = tuple(perturbation.split(SEPARATOR))
    if join_targets(targets) != perturbation:
        raise DataError(f"{perturbation!r} is not a canonical label; expected {join_targets(targets)!r}")
    return targets


def target_genes(obs: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Return a mapping of each perturbation to the genes that it targets.

    The genes come from ``obs["genes"]`` where the targets are guides, and else from the label.

    Parameters
    ----------
    obs
        Table of a dataset, or of some of its rows, with the column ``perturbation``.
    """
    labels = obs["perturbation"].astype(object)
    genes = obs["genes"].astype(object) if "genes" in obs else labels
    return {str(label): targets_of(str(of_label)) for label, of_label in dict(zip(labels, genes, strict=True)).items()}
