"""How models are compared; a recipe fixes this before any score is seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ALPHA = 0.05
"""Level of the verdicts, after Holm's correction."""

FEWEST_PERTURBATIONS = 6
"""Fewest perturbations for a verdict: with n, the most extreme sign pattern has p = 2 / 2**n, above 0.05 for n = 5."""

DUPLICATE = "technical_duplicate"
"""Name on the leaderboard of one half of the cells as a prediction of the other half."""


@dataclass(frozen=True)
class TaskSettings:
    """Settings of a recipe for one dataset and task; models are named by their labels.

    Attributes
    ----------
    reference
        The model that verdicts compare with. It is not chosen by its test scores.
    common_set
        The models whose answered perturbations form the common set. If empty, it is all held-out perturbations.
    """

    reference: str = ""
    common_set: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """How the scores of a run become a leaderboard.

    Attributes
    ----------
    metric
        The primary metric, shown first.
    resamples, seed
        Number of bootstrap resamples and the seed of their generator.
    bootstrap
        ``identity`` draws perturbations, each with all its splits together; ``rows`` draws single predictions, pooled
        over splits, as the paper does.
    confidence
        Coverage of the intervals.
    fill
        Label of the baseline whose score replaces that of a prediction that a model did not give.
    """

    metric: str
    resamples: int = 10_000
    seed: int = 0
    bootstrap: Literal["identity", "rows"] = "identity"
    confidence: float = 0.95
    fill: str = "mean"


_TEST_WEIGHTS = " (test weights)"
"""Follows the name of a model; no name on a card has a space."""


def with_test_weights(model: str) -> str:
    """Return the name of a model that has other weights than the published ones on its card."""
    return model + _TEST_WEIGHTS


def has_test_weights(model: str) -> bool:
    """Return whether a name of the leaderboard is that of a model with other weights than the published ones.

    Its scores say nothing of the published model: it has no rank and no verdict.
    """
    return model.endswith(_TEST_WEIGHTS)


def model_label(model: str, params: str = "") -> str:
    """Return the label of a model: its name, then in brackets the parameters that differ from the defaults."""
    return f"{model}[{params}]" if params else model
