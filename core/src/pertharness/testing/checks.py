"""The list of checks, each with an id and a promise; the modules of each kind implement them.

An id is ``offer-task-check`` for models, ``offer-kind-check`` for embeddings, ``offer-check`` for datasets and scorers,
and ``card-check`` for the card.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness.contract.cards import Card
from pertharness.contract.jobs import Job, PluginRef
from pertharness.testing.card_checks import CARD_CHECKS
from pertharness.testing.dataset_checks import DATASET_CHECKS, DatasetTrial
from pertharness.testing.embedding_checks import EMBEDDING_CHECKS, EmbeddingTrial
from pertharness.testing.failures import explained
from pertharness.testing.model_checks import MODEL_CHECKS
from pertharness.testing.model_trial import ModelTrial
from pertharness.testing.scorer_checks import SCORER_CHECKS
from pertharness.testing.scorer_trial import ScorerTrial
from pertharness.testing.subject import Subject, make_extras
from pertharness.worker.stages.result import Result

if TYPE_CHECKING:
    from pertharness.contract.jobs import Phase


@dataclass(frozen=True)
class Check:
    """One check of one offer.

    Attributes
    ----------
    id
        Id, unique within the plugin.
    promise
        Property of a plugin that passes the check.
    needs
        Id of a check that must pass before this one can be done, or empty.
    kind, offer, part
        ``card``, ``models``, ...; name of the offer; task of a model or kind of an embedding, or empty.
    """

    id: str
    promise: str
    function: Callable[[Any], None]
    kind: str
    offer: str = ""
    part: str = ""
    needs: str = ""


def card_checks() -> list[Check]:
    """Return the checks of the card itself."""
    return [Check(f"card-{name}", _promise(function), function, "card") for name, function in CARD_CHECKS.items()]


def list_checks(card: Card) -> list[Check]:
    """Return all checks of a plugin with this card, in the order to run them."""
    checks = card_checks()
    for dataset in card.datasets:
        checks += _of_offer("datasets", dataset.name, "", DATASET_CHECKS)
    for embedding in card.embeddings:
        for kind in embedding.kinds:
            checks += _of_offer("embeddings", embedding.name, kind, EMBEDDING_CHECKS)
    for model in card.models:
        applies = {"without_val": model.uses_validation, "without_oracle": model.oracle is not None}
        chosen = {name: function for name, function in MODEL_CHECKS.items() if applies.get(name, True)}
        for task in model.tasks:
            checks += _of_offer("models", model.name, task, chosen)
    for scorer in card.scorers:
        checks += _of_offer("scorers", scorer.name, "", SCORER_CHECKS)
    return checks


def run_check(
    check_id: str, ref: PluginRef, files: Mapping[str, Path] | None = None, *, params: Mapping[str, Any] | None = None,
    slots: Mapping[str, Path] | None = None, source: Path | None = None,
) -> None:  # fmt: skip
    """Run one check in the working directory.

    Parameters
    ----------
    check_id
        Id of one of `list_checks`.
    ref
        Reference to the plugin.
    files
        Available weights and side files by name; checks of an offer that requires another file are skipped.
    params
        Parameters of the offer that differ from the card's.
    slots
        Files of embeddings for slots of the model, instead of planted ones.
    source
        Source file of the dataset or the embedding.

    Raises
    ------
    ContractError
        If the plugin breaks the promise. Other errors of the plugin are not caught.
    Skip
        If the check cannot be done, with the reason.
    """
    subject = Subject(ref, make_extras(params=params, slots=slots, source=source, files=files))
    checks = {check.id: check for check in card_checks()}
    if check_id not in checks:
        checks = {check.id: check for check in list_checks(subject.card())}
    check = checks[check_id]
    check.function(subject if check.kind == "card" else _open_trial(subject, check.kind, check.offer, check.part))


def run_check_job(job: Job, folder: Path, phases: list[Phase]) -> Result:
    """Run the check named by a job, as the stage ``checks`` of a worker; it writes no artefacts.

    Raises
    ------
    ContractError
        If the plugin breaks the promise, or raises any error; the message has the plugin's own lines of the traceback.
    Skip
        If the check cannot be done, with the reason.
    """
    with explained(job.plugin.module):
        run_check(
            job.name, job.plugin, job.files(), params=job.params, slots=job.embeddings,
            source=job.inputs.get("source"),
        )  # fmt: skip
    return Result([])


# Cached, because the results of a trial, such as an answer of a fitted model, are used by all its checks.
@functools.lru_cache(maxsize=4)
def _open_trial(subject: Subject, kind: str, offer: str, part: str) -> Any:
    """Return the trial that the checks of one offer use."""
    offered = next(offered for offered in getattr(subject.card(), kind) if offered.name == offer)
    changed = offered.model_copy(update={"params": offered.params | json.loads(subject.extras.params)})
    return _TRIALS[kind](subject, changed, part)


def _of_offer(kind: str, offer: str, part: str, functions: dict[str, Callable[[Any], None]]) -> list[Check]:
    """Return the checks of one offer; all others need the first one."""
    stem = f"{offer}-{part}" if part else offer
    first = f"{stem}-{next(iter(functions))}"
    return [
        Check(f"{stem}-{name}", _promise(function), function, kind, offer, part, first if index else "")
        for index, (name, function) in enumerate(functions.items())
    ]


def _promise(function: Callable[[Any], None]) -> str:
    return (function.__doc__ or "").split("\n")[0]


_TRIALS: dict[str, Callable[[Subject, Any, str], Any]] = {
    "datasets": DatasetTrial, "embeddings": EmbeddingTrial, "models": ModelTrial, "scorers": ScorerTrial,
}  # fmt: skip
