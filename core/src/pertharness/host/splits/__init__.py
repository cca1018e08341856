"""Splits: which perturbations a model is trained on, selected on and tested on."""

from __future__ import annotations

from pertharness.host.splits.file import read_split, write_split
from pertharness.host.splits.make import KINDS, MAX_SEED, Kind, Param, make_split, split_problems
from pertharness.host.splits.split import Labelled, Split, split_hash

__all__ = [
    "KINDS", "MAX_SEED", "Kind", "Labelled", "Param", "Split", "make_split", "read_split", "split_hash",
    "split_problems", "write_split",
]  # fmt: skip
