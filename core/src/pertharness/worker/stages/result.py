"""What a stage returns."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Result:
    """What a stage leaves: names of files in the job's folder `OUT`, and what goes into the status."""

    artefacts: list[str]
    notes: list[str] = field(default_factory=list)
    unanswered: dict[str, str] = field(default_factory=dict)
