"""The conformance kit on an installed plugin, each check a job in the plugin's own interpreter."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pertharness.contract.cards import Card, DatasetOffer, EmbeddingOffer, ModelOffer, RemoteFile
from pertharness.contract.errors import FetchError, PertharnessError, RecipeError
from pertharness.contract.jobs import WEIGHTS, Job, PluginRef
from pertharness.contract.stages import CARD
from pertharness.host.execution.executor import Executor
from pertharness.host.execution.hardware import Machine, missing_hardware
from pertharness.host.execution.nodes import Node, Outcome
from pertharness.host.execution.runner import Runner
from pertharness.host.fetch import default_folder, fetch, place_of
from pertharness.host.plugins.registry import find_plugins
from pertharness.host.plugins.weights import Declared, examine
from pertharness.host.store.records import Store
from pertharness.host.text.did_you_mean import expected
from pertharness.testing.checks import Check, card_checks, list_checks
from pertharness.testing.user_inputs import Allotted, UserInputs, allot

Verdict = Literal["ok", "skipped", "FAILED"]


@dataclass(frozen=True)
class Tried:
    """A check and its result."""

    check: Check
    verdict: Verdict
    message: str = ""


USUAL_S, TRAINING_S = 30.0, 900.0


@dataclass(frozen=True)
class Limits:
    """Limits of one check.

    Seconds that are None: `USUAL_S`, or `TRAINING_S` where the offer is not cheap, or a dataset reads a source.
    """

    timeout_s: float | None = None
    memory_mb: float | None = None


def find_subject(name: str) -> tuple[PluginRef, Path]:
    """Return a plugin by its name, or by its module, with the interpreter that runs it.

    Raises
    ------
    RecipeError
        If there is neither.
    PertharnessError
        If the plugin cannot be used.
    """
    plugins, problems = find_plugins()
    if name in plugins:
        return plugins[name].ref, plugins[name].python
    for problem in problems:
        if problem.plugin == name:
            raise PertharnessError(problem.message)
    for plugin in plugins.values():
        if plugin.ref.module == name:
            return plugin.ref, plugin.python
    if name.isidentifier() and importlib.util.find_spec(name):  # the name has no dot, so nothing is imported
        return PluginRef(name=name, module=name, version="0"), Path(sys.executable)
    raise RecipeError(f"no plugin and no module is called {name!r}; {expected(name, plugins)}; pip install it first")


def check_plugin(
    name: str, store: Store, executor: Executor, limits: Limits, supplied: UserInputs | None = None
) -> Iterator[Tried]:
    """Run all checks on a plugin and yield each result; `store` should be a new one.

    The first check of each offer comes before the others of that offer, which are not tried where it fails.

    Raises
    ------
    RecipeError
        If something in `supplied` fits no offer of the plugin.
    """
    ref, python = find_subject(name)
    allotted: dict[tuple[str, str], Allotted] = {}
    slow: set[tuple[str, str]] = set()

    def node(check: Check) -> Node:
        own = allotted.get((check.kind, check.offer), Allotted())
        inputs = {WEIGHTS + file: path for file, path in own.files.items()}
        inputs |= {"source": own.source} if own.source else {}
        job = Job(
            key=check.id, stage="checks", plugin=ref, name=check.id, inputs=inputs, params=own.params,
            embeddings=own.slots,
        )  # fmt: skip
        needs = (check.needs,) if check.needs else ()
        return Node(
            job=job, python=python, title=check.id, needs=needs, cheap=True, memory_mb=limits.memory_mb,
            shares_process=(check.kind, check.offer) in slow,  # its fitted model is used by its other checks
            timeout_s=limits.timeout_s or (TRAINING_S if (check.kind, check.offer) in slow else USUAL_S),
        )  # fmt: skip

    first = card_checks()
    card = Node(
        job=Job(key="card", stage="cards", plugin=ref), python=python, title="card", cheap=True,
        timeout_s=limits.timeout_s or USUAL_S,
    )  # fmt: skip
    outcomes = Runner(store, executor).run([card, *map(node, first)])
    described = None
    if outcomes["card"].state == "done":
        described = Card.model_validate_json((store.record("cards", "card") / CARD).read_bytes())
        allotted |= allot(described, supplied or UserInputs())
    yield from (_judge(check, outcomes[check.id]) for check in first)
    if described is None:
        return
    checks = [check for check in list_checks(described) if check.kind != "card"]
    damaged = _add_what_is_here(allotted, described, ref.name, store)
    slow |= {("models", offer.name) for offer in described.models if not offer.cheap}
    slow |= {("embeddings", offer.name) for offer in described.embeddings if not offer.cheap}
    slow |= {(kind, name) for (kind, name), own in allotted.items() if kind == "datasets" and own.source}
    lacking = {
        check.id: reason
        for check in checks
        if (reason := damaged.get((check.kind, check.offer)) or _lacks(described, check, executor.machine))
    }
    outcomes = Runner(store, executor).run(node(check) for check in checks if check.id not in lacking)
    for check in checks:
        if check.id in lacking:
            yield Tried(check, "skipped", lacking[check.id])
        else:
            yield _judge(check, outcomes[check.id])


def _lacks(card: Card, check: Check, machine: Machine) -> str | None:
    """Return what this machine lacks for a check of a model or an embedding."""
    offers: dict[str, tuple[ModelOffer, ...] | tuple[EmbeddingOffer, ...]] = {
        "models": card.models, "embeddings": card.embeddings,
    }  # fmt: skip
    offer = next((offer for offer in offers.get(check.kind, ()) if offer.name == check.offer), None)
    if offer is None:
        return None
    return missing_hardware(offer.needs, "cpu", machine)


def _add_what_is_here(
    allotted: dict[tuple[str, str], Allotted], card: Card, plugin: str, store: Store
) -> dict[tuple[str, str], str]:
    """Add the weights, side files and sources that were fetched, where the user named none.

    Returns
    -------
    dict
        Kind and name of an offer -> why its source, which is there, cannot be used.
    """
    declared = [Declared(plugin, offer.name, file) for offer in card.models for file in offer.weights]
    declared += [Declared(plugin, offer.name, file) for offer in card.embeddings for file in offer.weights]
    examined = [examine(each, default_folder(), store.root) for each in declared]
    files = {each.declared.file.wanted: each.path for each in examined if each.condition == "available"}
    for kind, offers in (("models", card.models), ("embeddings", card.embeddings)):
        for offer in offers:
            own = allotted[kind, offer.name]
            own.files = files | own.files
    damaged = {}
    for dataset in card.datasets:
        own = allotted["datasets", dataset.name]
        if own.source is None and dataset.source is not None:
            try:
                own.source = _fetched_source(dataset, dataset.source, plugin)
            except FetchError as error:
                damaged["datasets", dataset.name] = str(error)
    return damaged


def _fetched_source(offer: DatasetOffer, source: RemoteFile, plugin: str) -> Path | None:
    """Return the checked file of a dataset if it is available locally; fetch nothing."""
    for name in (offer.name, f"{plugin}/{offer.name}"):
        target = place_of(source, name, default_folder())
        if target.wanted.is_file() or target.download.is_file():
            return fetch(source, name=name, folder=default_folder())
    return None


def _judge(check: Check, outcome: Outcome) -> Tried:
    if outcome.state == "done":
        return Tried(check, "ok")
    if outcome.state == "skipped":
        return Tried(check, "skipped", outcome.message)
    if outcome.status is None:  # a check that it depends on failed
        return Tried(check, "skipped", f"not tried, because {check.needs!r} did not pass")
    how = {"crashed": "the plugin crashed: ", "timeout": "the plugin hangs: "}.get(outcome.state, "")
    return Tried(check, "FAILED", f"{how}{outcome.message}")


def count(tried: Iterable[Tried]) -> dict[Verdict, int]:
    """Count the verdicts."""
    counts: dict[Verdict, int] = {"ok": 0, "skipped": 0, "FAILED": 0}
    for each in tried:
        counts[each.verdict] += 1
    return counts
