"""The stages of a run's jobs: their names and numbers, and the files that each leaves in its record.

A new stage is a line of each table here, a module of `pertharness.worker.stages` with a line of its table, and a
function of `pertharness.host.plan` that plans its jobs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Stage = Literal[
    "cards", "datasets", "splits", "halves", "oracles", "embeddings", "predictions", "scores", "checks", "side_files"
]

STAGE_VERSIONS: Mapping[Stage, int] = MappingProxyType(
    {
        "cards": 1,
        "datasets": 3,
        "splits": 1,
        "halves": 1,
        "oracles": 1,
        "embeddings": 1,
        "predictions": 1,
        "scores": 1,
        "checks": 2,
        "side_files": 1,
    }
)
"""What the harness itself does in each stage, as a number. It is raised when the same inputs may give another result;
``core/tests/stage_digests.py`` notices every change that may call for it. All that depends on a record of the stage is
then made anew, and nothing else is.
"""

ON_DEVICE: tuple[Stage, ...] = ("embeddings", "predictions")
"""Stages whose records depend on device and threads; data, splits and scores are the same on any."""

CONFINED: tuple[Stage, ...] = ("cards", "embeddings", "predictions", "checks", "side_files")
"""Stages whose jobs must not reach the truth; those of the others, and of the core itself, may read it."""

CARD = "card.json"
DATASET, PSEUDOBULK, PERTURBATIONS, FACTS = "dataset.h5ad", "pseudobulk.h5ad", "perturbations.csv", "facts.json"
SPLIT, TRAIN, VAL = "split.json", "train.h5ad", "val.h5ad"
HALVES = "halves.h5ad"
ORACLE = "oracle.h5ad"
EMBEDDING = "embedding.h5ad"
PREDICTION, MODEL = "prediction.h5ad", "model.zip"
SCORES = "scores.csv"


@dataclass(frozen=True)
class Artefacts:
    """The names of the files that a job of one stage leaves.

    Attributes
    ----------
    always
        Left by every job that is done.
    sometimes
        Left by some jobs.
    tables
        Whether there may be further tables, named by a card.
    """

    always: tuple[str, ...] = ()
    sometimes: tuple[str, ...] = ()
    tables: bool = False

    def allow(self, name: str) -> bool:
        """Return whether a job of the stage may leave a file of this name."""
        is_table = self.tables and re.fullmatch(r"[A-Za-z0-9_-]+\.csv", name) is not None
        return is_table or name in (*self.always, *self.sometimes)


ARTEFACTS: Mapping[Stage, Artefacts] = MappingProxyType(
    {
        "cards": Artefacts((CARD,)),
        "datasets": Artefacts((DATASET, PSEUDOBULK, PERTURBATIONS, FACTS)),
        "splits": Artefacts((SPLIT,), (TRAIN, VAL)),
        "halves": Artefacts((HALVES,)),
        "oracles": Artefacts((ORACLE,)),
        "embeddings": Artefacts((EMBEDDING,)),
        "predictions": Artefacts((PREDICTION,), (MODEL,)),
        "scores": Artefacts((SCORES,), tables=True),
        "checks": Artefacts(),
        "side_files": Artefacts(tables=True),
    }
)
