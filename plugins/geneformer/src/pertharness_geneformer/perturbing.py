"""Perturbing a cell in silico: its targets are taken out of the list of genes, or put in front of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pertharness import Skip

from pertharness_geneformer.settings import AbsentTarget

Mode = Literal["delete", "overexpress"]
_OF_MODALITY: dict[str | None, Mode] = {"crispra": "overexpress", "crispri": "delete", "ko": "delete"}
FROM_THE_END = 100
"""The token, counted from the end, that the published code deletes where no target is expressed."""


class TooShort(Exception):
    """A cell in which the published code finds no token to delete, and stops with an error."""


def mode_of(modality: str | None, chosen: Literal["auto", "delete", "overexpress"]) -> Mode:
    """Return what is done to targets: what the parameter says, else what the modality of the dataset means.

    Raises
    ------
    Skip
        If neither says it.
    """
    if chosen != "auto":
        return chosen
    if modality not in _OF_MODALITY:
        raise Skip(
            "Geneformer deletes the targets of CRISPRi and of knock-outs and overexpresses those of CRISPRa, and the "
            f"dataset {'does not declare its modality' if modality is None else f'has the modality {modality!r}'}: "
            "load it with --modality crispra, crispri or ko, or set geneformer[perturbation=delete] or "
            "geneformer[perturbation=overexpress]"
        )
    return _OF_MODALITY[modality]


def delete(cell: np.ndarray, targets: Sequence[int], absent: AbsentTarget) -> np.ndarray | None:
    """Return a cell without its targets; None where it expresses none of them and is to be left out.

    Raises
    ------
    TooShort
        If it expresses none of them, has fewer tokens than `FROM_THE_END`, and `absent` is ``paper``.
    """
    places = _places(cell, targets)
    if places:
        return np.delete(cell, places)
    if absent == "skip_cell":
        return None
    if absent == "no_op":
        return cell
    # As published: the position of a target that is not there is -100, which Python counts from the end.
    if len(cell) < FROM_THE_END:
        raise TooShort
    return np.delete(cell, len(cell) - FROM_THE_END)


def overexpress(cell: np.ndarray, targets: Sequence[int], longest: int) -> np.ndarray:
    """Return a cell with its targets directly after the class token, in their order, whether it expresses them or not.

    Where it gets too long, the smallest genes give way; the end token stays.
    """
    rest = np.delete(cell, _places(cell, targets))
    longer = np.concatenate([rest[:1], np.asarray(targets, dtype=cell.dtype), rest[1:]])
    return longer if len(longer) <= longest else np.concatenate([longer[: longest - 1], longer[-1:]])


def _places(cell: np.ndarray, targets: Sequence[int]) -> list[int]:
    """Return the first place of each target that is in a cell."""
    return [int(np.argmax(is_target)) for target in targets if (is_target := cell == target).any()]
