"""The plugins, installed beside the harness or in environments, and their offers. No plugin is imported here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pertharness.contract.cards import DatasetOffer, EmbeddingOffer, ModelOffer, RecipeOffer, ScorerOffer
from pertharness.host.environments.built import find_environments, merge
from pertharness.host.environments.folder import Folder, open_folder
from pertharness.host.execution.batch import CORE
from pertharness.host.packages.installed import Plugin as Plugin
from pertharness.host.packages.installed import Problem as Problem
from pertharness.host.packages.installed import find_installed

Offer = TypeVar("Offer", DatasetOffer, EmbeddingOffer, ModelOffer, ScorerOffer, RecipeOffer)


FIRST = ("datasets", "baselines", "scorers")
"""The plugins of this repository, whose names recipes and docs use without a prefix."""


@dataclass(frozen=True)
class Offered(Generic[Offer]):
    """An offer and its plugin."""

    plugin: Plugin
    offer: Offer


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
    recipes: dict[str, Offered[RecipeOffer]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def open_registry(
    named: Mapping[str, Plugin] | None = None, failed: Sequence[Problem] = (), *, every_file: bool = False,
    isolation: str = "auto",
) -> Registry:  # fmt: skip
    """Find the plugins and read their cards; the cards of unchanged plugins are kept.

    Parameters
    ----------
    named
        Plugins with interpreters that a recipe names: in place of all else under their names.
    failed
        What went wrong with plugins that a recipe names: in place of all else under their names.
    every_file
        Look at every file of the environments, as before a run: a damaged one would fail the jobs, one after another.
    isolation
        Of the plugins while they are asked for their cards.
    """
    from pertharness.host.plugins.describe import read_cards

    registry = Registry()
    registry.plugins, registry.problems = find_plugins(every_file=every_file)
    replaced = {*(named or {}), *(problem.plugin for problem in failed)}
    others = {name: plugin for name, plugin in registry.plugins.items() if name not in replaced}
    registry.plugins = others | dict(named or {})
    registry.problems = [*(problem for problem in registry.problems if problem.plugin not in replaced), *failed]
    if registry.plugins.pop(CORE.name, None):  # its jobs would look like the harness's own
        words = f"a plugin is called {CORE.name!r}, the name of the harness itself; give its entry point another one"
        registry.problems.append(Problem(CORE.name, "invalid", words))
    answers = read_cards(registry.plugins, isolation=isolation)
    registry.problems += [answer for answer in answers.values() if isinstance(answer, Problem)]
    cards = {name: answer for name, answer in answers.items() if not isinstance(answer, Problem)}
    registry.datasets = _by_name(registry, {name: card.datasets for name, card in cards.items()})
    registry.embeddings = _by_name(registry, {name: card.embeddings for name, card in cards.items()})
    registry.models = _by_name(registry, {name: card.models for name, card in cards.items()})
    registry.scorers = _by_name(registry, {name: card.scorers for name, card in cards.items()})
    registry.recipes = _by_name(registry, {name: card.recipes for name, card in cards.items()})
    return registry


def find_plugins(folder: Folder | None = None, *, every_file: bool = False) -> tuple[dict[str, Plugin], list[Problem]]:
    """Return the plugins by name, installed or in environments, and those that cannot be used.

    Parameters
    ----------
    folder
        Of the environments; the user's by default.
    every_file
        See `open_registry`.
    """
    installed, problems = find_installed()
    built, more = find_environments(folder or open_folder(), every_file=every_file)
    plugins, clashes = merge(installed, built)
    problems = [*problems, *more, *clashes]
    unusable = {problem.plugin for problem in problems}
    return {name: plugin for name, plugin in plugins.items() if name not in unusable}, problems


def _by_name(registry: Registry, offers: dict[str, Sequence[Offer]]) -> dict[str, Offered[Offer]]:
    """Return the offers of one kind under the names of the registry, those of this repository first."""
    order = sorted(offers, key=lambda plugin: (plugin not in FIRST, plugin))
    pairs = [(plugin, offer) for plugin in order for offer in offers[plugin]]
    count = Counter(offer.name for _, offer in pairs)
    owner = {offer.name: plugin for plugin, offer in pairs if count[offer.name] == 1 or plugin in FIRST}
    named = {(offer.name if owner.get(offer.name) == plugin else f"{plugin}/{offer.name}"): (plugin, offer)
             for plugin, offer in pairs}  # fmt: skip
    return {name: Offered(registry.plugins[plugin], offer) for name, (plugin, offer) in named.items()}


def look_up(offers: Mapping[str, Offered[Offer]], name: str) -> Offered[Offer] | None:
    """Return the offer of ``NAME`` or ``PLUGIN/NAME``, even if the plugin's name is not needed."""
    plugin, _, bare = name.rpartition("/")
    offered = offers.get(name) or offers.get(bare)
    return offered if offered is not None and plugin in ("", offered.plugin.ref.name) else None
