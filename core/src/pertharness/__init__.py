"""pertharness: benchmark models that predict how cells respond to genetic perturbations.

For plugin authors: ``hookimpl``, the parts of a card, ``settings_of`` and ``read_settings``, ``make_prediction``,
``Scores`` with its ``COLUMNS``, and ``Skip``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pertharness.version import __version__ as __version__

if TYPE_CHECKING:
    from pertharness.contract.cards import Card as Card
    from pertharness.contract.cards import DatasetOffer as DatasetOffer
    from pertharness.contract.cards import EmbeddingOffer as EmbeddingOffer
    from pertharness.contract.cards import MetricOffer as MetricOffer
    from pertharness.contract.cards import ModelOffer as ModelOffer
    from pertharness.contract.cards import Needs as Needs
    from pertharness.contract.cards import ParameterHelp as ParameterHelp
    from pertharness.contract.cards import RecipeOffer as RecipeOffer
    from pertharness.contract.cards import RemoteFile as RemoteFile
    from pertharness.contract.cards import ScorerOffer as ScorerOffer
    from pertharness.contract.cards import SideFile as SideFile
    from pertharness.contract.cards import TableOffer as TableOffer
    from pertharness.contract.errors import DataError as DataError
    from pertharness.contract.errors import Skip as Skip
    from pertharness.contract.hookspecs import hookimpl as hookimpl
    from pertharness.contract.jobs import Task as Task
    from pertharness.contract.jobs import describe_invalid as describe_invalid
    from pertharness.contract.labels import CONTROL as CONTROL
    from pertharness.contract.labels import join_targets as join_targets
    from pertharness.contract.labels import target_genes as target_genes
    from pertharness.contract.labels import targets_of as targets_of
    from pertharness.contract.predictions import make_prediction as make_prediction
    from pertharness.contract.scores import COLUMNS as COLUMNS
    from pertharness.contract.scores import COMMON_GENES as COMMON_GENES
    from pertharness.contract.scores import Scores as Scores
    from pertharness.contract.settings import read_settings as read_settings
    from pertharness.contract.settings import settings_of as settings_of
    from pertharness.data.canonical import control_mean as control_mean

# Loaded when first asked for, so that `pertharness --help` and a worker start at once.
_HOME = {
    "Card": "contract.cards", "DatasetOffer": "contract.cards", "EmbeddingOffer": "contract.cards",
    "MetricOffer": "contract.cards", "ModelOffer": "contract.cards", "Needs": "contract.cards",
    "ParameterHelp": "contract.cards", "RecipeOffer": "contract.cards",
    "RemoteFile": "contract.cards", "ScorerOffer": "contract.cards",
    "SideFile": "contract.cards",
    "TableOffer": "contract.cards", "DataError": "contract.errors", "Skip": "contract.errors",
    "hookimpl": "contract.hookspecs", "Task": "contract.jobs", "describe_invalid": "contract.jobs",
    "CONTROL": "contract.labels", "join_targets": "contract.labels", "target_genes": "contract.labels",
    "targets_of": "contract.labels", "make_prediction": "contract.predictions", "COLUMNS": "contract.scores",
    "COMMON_GENES": "contract.scores", "Scores": "contract.scores", "read_settings": "contract.settings",
    "settings_of": "contract.settings", "control_mean": "data.canonical",
}  # fmt: skip
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOME:
        raise AttributeError(f"module 'pertharness' has no attribute {name!r}")
    return getattr(import_module(f"pertharness.{_HOME[name]}"), name)
