"""The result of a stage."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Result:
    """The result of a stage: names of files in the job's folder `OUT`, and fields of the status."""

    artefacts: list[str]
    notes: list[str] = field(default_factory=list)
    unanswered: dict[str, str] = field(default_factory=dict)
