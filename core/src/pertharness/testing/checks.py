"""The list of checks: one id and one promise each; what a check does stands in the module of its kind.

An id reads ``offer-task-check`` for models, ``offer-kind-check`` for embeddings, ``offer-check`` for datasets and
scorers, ``card-check`` for the card.
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
from pertharness.worker.stages import Result

if TYPE_CHECKING:
    from pertharness.contract.jobs import Phase


@dataclass(frozen=True)
class Check:
    """One check of one offer.

    Attributes
    ----------
    id
        Unique within the plugin.
    promise
        What a plugin that passes it can be relied on for.
    needs
        Id of the check without which this one has nothing to look at, or empty.
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
    """Return the checks that need no card."""
    return [Check(f"card-{name}", _promise(function), function, "card") for name, function in CARD_CHECKS.items()]


def list_checks(card: Card) -> list[Check]:
    """Return all checks of a plugin with this card, in the order in which they are to be done."""
    checks = card_checks()
    for dataset in card.datasets:
        checks += _of_offer("datasets", dataset.name, "", DATASET_CHECKS)
    for embedding in card.embeddings:
        for kind in embedding.kinds:
            checks += _of_offer("embeddings", embedding.name, kind, EMBEDDING_CHECKS)
    for model in card.models:
        chosen = {name: f for name, f in MODEL_CHECKS.items() if name != "without_val" or model.uses_validation}
        for task in model.tasks:
            checks += _of_offer("models", model.name, task, chosen)
    for scorer in card.scorers:
        checks += _of_offer("scorers", scorer.name, "", SCORER_CHECKS)
    return checks


def run_check(
    check_id: str, ref: PluginRef, files: Mapping[str, Path] | None = None, *, params: Mapping[str, Any] | None = None,
    slots: Mapping[str, Path] | None = None, source: Path | None = None,
) -> None:  # fmt: skip
    """Carry out one check in the working directory.

    Parameters
    ----------
    check_id
        One of `list_checks`.
    ref
        The plugin.
    files
        Those of its weights and side files that are there, by name; an offer that needs another is not tried.
    params
        Parameters of the offer that are to differ from those of the card.
    slots
        Files of embeddings that fill slots of the model, in place of planted ones.
    source
        The file that the dataset or the embedding is made of.

    Raises
    ------
    ContractError
        If the plugin does not keep the promise; whatever else it raises comes through as it is.
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
    """Carry out the check that a job names; it leaves nothing but its status: the stage ``checks`` of a worker.

    Raises
    ------
    ContractError
        If the plugin does not keep the promise, or raises anything: then with those lines of the traceback that are the
        plugin's own.
    Skip
        If the check cannot be done, with the reason.
    """
    with explained(job.plugin.module):
        run_check(
            job.name, job.plugin, job.files(), params=job.params, slots=job.embeddings,
            source=job.inputs.get("source"),
        )  # fmt: skip
    return Result([])


# What a trial made (a fitted model's answer, a table of scores) serves all checks of the process.
@functools.lru_cache(maxsize=4)
def _open_trial(subject: Subject, kind: str, offer: str, part: str) -> Any:
    """Return what the checks of one offer work on."""
    offered = next(offered for offered in getattr(subject.card(), kind) if offered.name == offer)
    changed = offered.model_copy(update={"params": offered.params | json.loads(subject.extras.params)})
    return _TRIALS[kind](subject, changed, part)


def _of_offer(kind: str, offer: str, part: str, functions: dict[str, Callable[[Any], None]]) -> list[Check]:
    """Return the checks of one offer; the first is the one that all others need."""
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
