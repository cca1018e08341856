"""How models are compared: what a recipe settles before any score is seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ALPHA = 0.05
"""Level of the verdicts, after Holm's correction."""

FEWEST_PERTURBATIONS = 6
"""Below this no verdict: with n perturbations the most extreme sign pattern has p = 2 / 2**n, above 0.05 for n = 5."""


DUPLICATE = "technical_duplicate"
"""What the leaderboard calls one half of the cells as a prediction of the other."""


@dataclass(frozen=True)
class TaskSettings:
    """What a recipe says of one dataset's task; models are named by their labels.

    Attributes
    ----------
    reference
        The model that the verdicts compare with; not chosen by its test scores.
    common_set
        The models whose answered perturbations form the common set. Of none: all held-out perturbations.
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
        Label of the baseline whose score stands in for a prediction that a model did not give.
    """

    metric: str
    resamples: int = 10_000
    seed: int = 0
    bootstrap: Literal["identity", "rows"] = "identity"
    confidence: float = 0.95
    fill: str = "mean"


def model_label(model: str, params: str = "") -> str:
    """Return the label of a model: its name, with the parameters that are not defaults in brackets."""
    return f"{model}[{params}]" if params else model
