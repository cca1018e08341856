"""A plan as data: attempts, and the jobs that serve them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pertharness.contract.cards import MetricOffer, ScorerOffer
from pertharness.contract.jobs import State
from pertharness.host.execution.nodes import Node
from pertharness.host.leaderboard.comparison import model_label
from pertharness.host.recipe import TaskChoice as Task


@dataclass(frozen=True)
class Attempt:
    """One model on one task, with one split seed and one training seed.

    Attributes
    ----------
    plugin, model, params
        As they stand on the leaderboard; ``params`` are those that are not defaults.
    prediction
        Key of its prediction; empty if there is none, see `reason`.
    scores
        Scorer -> key.
    common
        Scorer -> key of the job that scores the genes that all compared models predict, if a model lacks some.
    """

    dataset: str
    task: Task
    seed: int
    training_seed: int
    plugin: str
    model: str
    params: str
    split: str
    prediction: str = ""
    scores: dict[str, str] = field(default_factory=dict)
    common: dict[str, str] = field(default_factory=dict)
    half: dict[str, str] = field(default_factory=dict)
    """Scorer -> key of the job that scores against the second half of the cells, in a run that calibrates."""
    reason: str = ""
    state: State = "skipped"
    """Whether the problem of `reason` is with the model itself."""
    uses_validation: bool = False
    """From the model's card; always true for a grid."""
    constant: bool = False
    """From the model's card."""
    copies_training: bool = False
    """From the model's card."""
    oracle: bool = False
    """Whether the model is given observed values of held-out cells, from its card."""

    @property
    def label(self) -> str:
        """The model's name on the leaderboard."""
        return model_label(self.model, self.params)


@dataclass(frozen=True)
class Candidate:
    """One combination of a grid's values, on one split with one training seed.

    Attributes
    ----------
    params
        Its parameters as tables show them: the values of the grid, and others that are not defaults.
    prediction
        Key of its prediction; empty if there is none, see `reason`.
    val_scores
        Key of the job that scores what it predicts of val.
    reason, state
        Why it has no prediction; once it is judged, why it has no mean on val.
    value, n
        Mean of its scores on val, rounded to 12 digits, NaN if there is none; and the number of predictions behind it.
    """

    params: str
    prediction: str = ""
    val_scores: str = ""
    reason: str = ""
    state: State = "skipped"
    value: float = math.nan
    n: int = 0
    is_chosen: bool = False


@dataclass(frozen=True)
class Selection:
    """The choice among the candidates of a grid, on one split with one training seed.

    Attributes
    ----------
    position
        Of its attempt among those of the plan. This has no prediction until a candidate is chosen.
    scorer, metric
        What the candidates are compared by.
    score
        Adds the jobs that score an attempt's prediction to the plan, and returns the attempt with their keys.
    """

    position: int
    scorer: str
    metric: MetricOffer
    candidates: tuple[Candidate, ...]
    score: Callable[[Attempt], Attempt]


@dataclass
class Plan:
    """Jobs in an order in which each comes after what it needs, and the attempts that they serve."""

    nodes: dict[str, Node] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    datasets: dict[str, str] = field(default_factory=dict)
    """Name -> key."""
    scorers: dict[str, ScorerOffer] = field(default_factory=dict)
    selections: list[Selection] = field(default_factory=list)
    """The selections of the recipe's grids."""
    notes: list[str] = field(default_factory=list)
    """Decisions of the planner that a user may not expect."""
    duplicates: list[Attempt] = field(default_factory=list)
    """In a run that calibrates, the technical duplicate of each split. It is not a model and is not compared as one."""

    def add(self, node: Node) -> str:
        """Add a node unless the plan has it, and return its key."""
        self.nodes.setdefault(node.key, node)
        return node.key


@dataclass(frozen=True)
class Source:
    """A dataset's file with the sha256 of its content, or the problem if there is none."""

    path: Path | None = None
    sha256: str = ""
    problem: str = ""
