"""The plugins that are installed beside the harness, and what their cards offer. No plugin is imported here."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from pertharness import __version__
from pertharness.cards import Card, DatasetOffer, EmbeddingOffer, ModelOffer, ScorerOffer
from pertharness.errors import PertharnessError
from pertharness.files import canonical_json, sha256_text
from pertharness.hookspecs import PROJECT, PROTOCOL
from pertharness.host.fingerprint import environment_hash, source_hash
from pertharness.host.nodes import Node, Outcome
from pertharness.host.store import Store
from pertharness.jobs import Job, PluginRef, State, describe_invalid

Offer = TypeVar("Offer", DatasetOffer, EmbeddingOffer, ModelOffer, ScorerOffer)


FIRST = ("datasets", "baselines", "scorers")
"""The plugins of this repository, whose names recipes and docs take as known."""


@dataclass(frozen=True)
class Plugin:
    """A plugin, the interpreter that runs it, and the hashes that enter the keys of its records."""

    ref: PluginRef
    python: Path
    source: str
    environment: str

    def identity(self) -> dict[str, str]:
        """Give what enters a key."""
        return {
            "name": self.ref.name,
            "version": self.ref.version,
            "source": self.source,
            "environment": self.environment,
        }


@dataclass(frozen=True)
class Offered(Generic[Offer]):
    """An offer and the plugin that makes it."""

    plugin: Plugin
    offer: Offer


@dataclass(frozen=True)
class Problem:
    """A plugin that cannot be used, and why."""

    plugin: str
    state: State
    message: str


@dataclass
class Registry:
    """All offers by name.

    Of several plugins that offer a name it belongs to one of `FIRST`, so that installing another changes nothing of
    what a recipe means; the others, or all where none of these is among them, stand under ``plugin/name``.
    """

    plugins: dict[str, Plugin] = field(default_factory=dict)
    datasets: dict[str, Offered[DatasetOffer]] = field(default_factory=dict)
    embeddings: dict[str, Offered[EmbeddingOffer]] = field(default_factory=dict)
    models: dict[str, Offered[ModelOffer]] = field(default_factory=dict)
    scorers: dict[str, Offered[ScorerOffer]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def open_registry(store: Store) -> Registry:
    """Find the installed plugins and read their cards, from the store where plugin and environment are unchanged."""
    from pertharness.host.runner import Runner

    registry = Registry()
    registry.plugins, registry.problems = find_plugins()
    nodes = {name: _card_node(plugin) for name, plugin in registry.plugins.items()}
    # A card that could not be had is asked for anew every time: the cause may lie outside the plugin; it costs little.
    every_state_but_done = frozenset({"failed", "invalid", "timeout", "crashed", "skipped"})
    outcomes = Runner(store, slots=os.cpu_count() or 1, retry=every_state_but_done).run(nodes.values())
    cards = {}
    for name, node in nodes.items():
        card = _read_card(store, node, outcomes[node.key])
        if isinstance(card, Problem):
            registry.problems.append(card)
        else:
            cards[name] = card
    registry.datasets = _by_name(registry, {name: card.datasets for name, card in cards.items()})
    registry.embeddings = _by_name(registry, {name: card.embeddings for name, card in cards.items()})
    registry.models = _by_name(registry, {name: card.models for name, card in cards.items()})
    registry.scorers = _by_name(registry, {name: card.scorers for name, card in cards.items()})
    return registry


def find_plugins() -> tuple[dict[str, Plugin], list[Problem]]:
    """Give the plugins by name, and those that cannot be used: two of one name, or a module that is not there."""
    points = sorted(entry_points(group=PROJECT), key=lambda point: (point.name, point.value))
    distinct = list({(point.name, point.value, _distribution_name(point)): point for point in points}.values())
    count = Counter(point.name for point in distinct)
    plugins: dict[str, Plugin] = {}
    problems = []
    for name in sorted(count):
        mine = [point for point in distinct if point.name == name]
        if len(mine) > 1:
            owners = " and ".join(f"{_distribution_name(point)} ({point.value})" for point in mine)
            problems.append(
                Problem(name, "invalid", f"two plugins are called {name!r}: {owners}; uninstall one of them")
            )
            continue
        try:
            plugins[name] = _plugin(mine[0])
        except PertharnessError as error:
            problems.append(Problem(name, "failed", str(error)))
    return plugins, problems


def _plugin(point: EntryPoint) -> Plugin:
    if point.dist is None:
        raise PertharnessError(f"the plugin {point.name!r} belongs to no distribution; install it with pip")
    ref = PluginRef(name=point.name, module=point.value, version=point.dist.version)
    return Plugin(ref, Path(sys.executable), source_hash(point.value), environment_hash(point.dist))


def _distribution_name(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "no distribution"


def _card_node(plugin: Plugin) -> Node:
    key = sha256_text(canonical_json({"stage": "cards", "protocol": PROTOCOL, "plugin": plugin.identity()}))
    job = Job(key=key, stage="cards", plugin=plugin.ref)
    return Node(job=job, python=plugin.python, title=f"card of {plugin.ref.name}", timeout_s=120.0)


def _read_card(store: Store, node: Node, outcome: Outcome) -> Card | Problem:
    name = node.job.plugin.name
    if outcome.state != "done":
        return Problem(name, outcome.state, outcome.message)
    try:
        return Card.model_validate_json((store.record("cards", node.key) / "card.json").read_bytes())
    except ValidationError as error:  # written by another version of pertharness, in the plugin's environment
        return Problem(
            name, "invalid", f"its card cannot be read by pertharness {__version__}: {describe_invalid(error)}"
        )


def _by_name(registry: Registry, offers: dict[str, Sequence[Offer]]) -> dict[str, Offered[Offer]]:
    """Give the offers of one kind under the names that the registry promises, those of this repository first."""
    order = sorted(offers, key=lambda plugin: (plugin not in FIRST, plugin))
    pairs = [(plugin, offer) for plugin in order for offer in offers[plugin]]
    count = Counter(offer.name for _, offer in pairs)
    owner = {offer.name: plugin for plugin, offer in pairs if count[offer.name] == 1 or plugin in FIRST}
    named = {(offer.name if owner.get(offer.name) == plugin else f"{plugin}/{offer.name}"): (plugin, offer)
             for plugin, offer in pairs}  # fmt: skip
    return {name: Offered(registry.plugins[plugin], offer) for name, (plugin, offer) in named.items()}


def look_up(offers: Mapping[str, Offered[Offer]], name: str) -> Offered[Offer] | None:
    """Give what stands under ``NAME`` or ``PLUGIN/NAME``, also where the plugin's name would not be needed."""
    plugin, _, bare = name.rpartition("/")
    found = offers.get(name) or offers.get(bare)
    return found if found is not None and plugin in ("", found.plugin.ref.name) else None
