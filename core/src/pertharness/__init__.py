"""pertharness: benchmark models that predict how cells respond to genetic perturbations.

For plugin authors: ``hookimpl``, the parts of a card, ``make_prediction``, ``Scores`` and ``Skip``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pertharness.canonical import control_mean as control_mean
    from pertharness.cards import Card as Card
    from pertharness.cards import DatasetOffer as DatasetOffer
    from pertharness.cards import EmbeddingOffer as EmbeddingOffer
    from pertharness.cards import MetricOffer as MetricOffer
    from pertharness.cards import ModelOffer as ModelOffer
    from pertharness.cards import Needs as Needs
    from pertharness.cards import RemoteFile as RemoteFile
    from pertharness.cards import ScorerOffer as ScorerOffer
    from pertharness.cards import TableOffer as TableOffer
    from pertharness.errors import DataError as DataError
    from pertharness.errors import Skip as Skip
    from pertharness.hookspecs import hookimpl as hookimpl
    from pertharness.jobs import Task as Task
    from pertharness.labels import CONTROL as CONTROL
    from pertharness.labels import join_targets as join_targets
    from pertharness.labels import target_genes as target_genes
    from pertharness.labels import targets_of as targets_of
    from pertharness.predictions import make_prediction as make_prediction
    from pertharness.scores import Scores as Scores

__version__ = "0.1.0"

# Loaded when first asked for, so that `pertharness --help` and a worker start at once.
_HOME = {
    "control_mean": "canonical", "Card": "cards", "DatasetOffer": "cards", "EmbeddingOffer": "cards",
    "MetricOffer": "cards", "ModelOffer": "cards", "Needs": "cards", "RemoteFile": "cards", "ScorerOffer": "cards",
    "TableOffer": "cards", "DataError": "errors", "Skip": "errors", "hookimpl": "hookspecs", "Task": "jobs",
    "CONTROL": "labels", "join_targets": "labels", "target_genes": "labels", "targets_of": "labels",
    "make_prediction": "predictions", "Scores": "scores",
}  # fmt: skip
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOME:
        raise AttributeError(f"module 'pertharness' has no attribute {name!r}")
    return getattr(import_module(f"pertharness.{_HOME[name]}"), name)
