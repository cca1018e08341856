"""pertharness: benchmark models that predict how cells respond to genetic perturbations.

For users: ``run``, ``load_run``, ``load_dataset``, ``make_split``, ``predict``, ``score``, ``compare`` and
``list_models``; see ``docs/python.md``. For plugin authors: ``hookimpl``, the parts of a card, ``settings_of`` and
``read_settings``, ``make_prediction``, ``read_gene_list``, ``Scores`` with its ``COLUMNS``, and ``Skip``.
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
    from pertharness.contract.errors import PertharnessError as PertharnessError
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
    from pertharness.data.gene_list import read_gene_list as read_gene_list
    from pertharness.host.api.comparison import compare as compare
    from pertharness.host.api.data import load_dataset as load_dataset
    from pertharness.host.api.data import make_split as make_split
    from pertharness.host.api.models import list_models as list_models
    from pertharness.host.api.prediction import predict as predict
    from pertharness.host.api.results import Run as Run
    from pertharness.host.api.results import load_run as load_run
    from pertharness.host.api.run_comparison import RunComparison as RunComparison
    from pertharness.host.api.runs import run as run
    from pertharness.host.api.scoring import score as score

# Loaded when first asked for, so that `import pertharness`, `pertharness --help` and a worker start at once.
_HOME = {
    "PertharnessError": "contract.errors", "Run": "host.api.results", "RunComparison": "host.api.run_comparison",
    "compare": "host.api.comparison", "list_models": "host.api.models", "load_dataset": "host.api.data",
    "load_run": "host.api.results", "make_split": "host.api.data", "predict": "host.api.prediction",
    "run": "host.api.runs",
    "score": "host.api.scoring",
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
    "read_gene_list": "data.gene_list",
}  # fmt: skip
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOME:
        raise AttributeError(f"module 'pertharness' has no attribute {name!r}")
    return getattr(import_module(f"pertharness.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """List the public names, for completion: they need not be loaded yet."""
    return [*__all__, "__version__"]
