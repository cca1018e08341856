"""Collect the facts of each model's predictions from the records of a run, cached by content."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from pertharness.contract.errors import DataError
from pertharness.contract.jobs import Isolation
from pertharness.contract.stages import PREDICTION, PSEUDOBULK, TRAIN
from pertharness.files.whole import canonical_json, sha256_text, write_text
from pertharness.host.execution.nodes import Outcome
from pertharness.host.leaderboard.model_facts import Key, ModelFacts
from pertharness.host.leaderboard.prediction_facts import Means, PredictionFacts, describe_prediction, open_means
from pertharness.host.plan import Attempt, Plan
from pertharness.host.store.records import Store

FOLDER = "facts"
"""Folder of the store with one file of facts per training data. It is a cache and may be deleted."""
VERSION = 1
"""Version of the facts. Raise it when their meaning changes."""


class _Memory(BaseModel):
    """Cached facts of the predictions from the same training data, by the sha256 of their files."""

    model_config = ConfigDict(extra="forbid")

    facts: dict[str, PredictionFacts] = {}


class _File(NamedTuple):
    """The file of a prediction."""

    key: str
    """Key of its record."""
    sha256: str
    path: Path


@dataclass
class _Group:
    """The predictions of one split, with the training data and the truth that they are compared with."""

    training: Path
    truth: Path
    sums: tuple[str, str]
    """sha256 of training data and truth."""
    files: list[_File] = field(default_factory=list)


def join_facts(plan: Plan, outcomes: Mapping[str, Outcome], store: Store) -> dict[Key, ModelFacts]:
    """Return the facts of each model of each dataset and task; without a prediction, only those on its card."""
    described = _describe_predictions(plan, outcomes, store)
    joined: dict[Key, ModelFacts] = {}
    for attempt in plan.attempts:
        key = (attempt.dataset, attempt.task.name, attempt.plugin, attempt.model, attempt.params)
        declared = ModelFacts(
            constant=attempt.constant, copies_training=attempt.copies_training, oracle=attempt.oracle
        )  # fmt: skip
        model_facts = joined.get(key, declared)
        isolations = tuple(_isolations(plan, attempt, outcomes))
        joined[key] = model_facts.with_prediction(described.get(attempt.prediction), isolations)
    return joined


def _isolations(plan: Plan, attempt: Attempt, outcomes: Mapping[str, Outcome]) -> Iterator[Isolation]:
    """Yield the isolation of the jobs behind a prediction: its own, and those of its embeddings."""
    node = plan.nodes.get(attempt.prediction)
    needs = node.needs if node else ()
    embeddings = [need for need in needs if need in plan.nodes and plan.nodes[need].stage == "embeddings"]
    for key in (attempt.prediction, *embeddings):
        status = outcomes[key].status if key in outcomes else None
        if status is not None and status.isolation is not None:
            yield status.isolation


def _describe_predictions(
    plan: Plan, outcomes: Mapping[str, Outcome], store: Store
) -> dict[str, PredictionFacts | str]:
    """Return the facts of all predictions by key of the record, or the fault of a file."""
    described: dict[str, PredictionFacts | str] = {}
    for group in _groups(plan, outcomes, store):
        memory = store.root / FOLDER / f"{sha256_text(canonical_json([VERSION, *group.sums]))}.json"
        remembered = _read_memory(memory)
        new = [file for file in group.files if file.sha256 not in remembered]
        for file, facts in _describe_files(group, new):
            described[file.key] = facts
            if isinstance(facts, PredictionFacts):
                remembered[file.sha256] = facts
        if new:
            with contextlib.suppress(OSError):  # a cache that cannot be written is no fault
                write_text(memory, _Memory(facts=remembered).model_dump_json())
        described |= {file.key: remembered[file.sha256] for file in group.files if file.sha256 in remembered}
    return described


def _groups(plan: Plan, outcomes: Mapping[str, Outcome], store: Store) -> list[_Group]:
    """Return the finished predictions, grouped by split."""
    groups: dict[tuple[str, str], _Group] = {}
    for attempt in plan.attempts:
        dataset = plan.datasets.get(attempt.dataset, "")
        sums = (_digest(outcomes, attempt.split, TRAIN), _digest(outcomes, dataset, PSEUDOBULK))
        digest = _digest(outcomes, attempt.prediction, PREDICTION)
        if digest and all(sums):
            training = store.record("splits", attempt.split) / TRAIN
            group = _Group(training, store.record("datasets", dataset) / PSEUDOBULK, sums)
            path = store.record("predictions", attempt.prediction) / PREDICTION
            groups.setdefault(sums, group).files.append(_File(attempt.prediction, digest, path))
    return list(groups.values())


def _digest(outcomes: Mapping[str, Outcome], key: str, name: str) -> str:
    """Return the sha256 of a file of a finished record; empty for any other record."""
    outcome = outcomes.get(key)
    if outcome is None or outcome.state != "done" or outcome.status is None or name not in outcome.status.artefacts:
        return ""
    return outcome.status.artefacts[name].sha256


def _describe_files(group: _Group, files: list[_File]) -> Iterator[tuple[_File, PredictionFacts | str]]:
    """Yield the facts of each prediction, or the fault of its file."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def open_once(path: Path) -> Means:
            return stack.enter_context(open_means(path))

        for file in files:
            try:
                with open_means(file.path) as prediction:
                    facts = describe_prediction(
                        prediction, open_once(group.training), functools.partial(open_once, group.truth)
                    )
            except DataError as error:
                yield file, str(error)
            else:
                yield file, facts


def _read_memory(path: Path) -> dict[str, PredictionFacts]:
    """Return the cached facts; none if the cache is absent or damaged."""
    try:
        return _Memory.model_validate_json(path.read_bytes()).facts
    except (OSError, ValidationError):
        return {}
