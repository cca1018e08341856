"""``pertharness prefetch``: download everything that a recipe needs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pertharness.host.cli.shared_options import FILE
from pertharness.host.cli.streams import echo
from pertharness.host.cli.weights import accept_option, bring_all

if TYPE_CHECKING:
    from pertharness.contract.cards import EmbeddingOffer, ModelOffer
    from pertharness.host.plugins.registry import Offered, Registry
    from pertharness.host.plugins.weights import Declared
    from pertharness.host.recipe import Recipe


@click.command(short_help="Fetch data, weights and side files of a recipe, for nodes without a network.")
@click.argument("recipe", type=FILE)
@accept_option
def prefetch(recipe: Path, *, accept: bool) -> None:
    """Fetch the environments, data, weights and side files that RECIPE needs; then it runs without a network.

    RECIPE is a file, or the name of a recipe from a plugin. Exit status 1 if something is not available.
    """
    from pertharness.host.cli.reporter import CommandReporter
    from pertharness.host.fetch import default_folder
    from pertharness.host.run.prepare import describe_problem, open_plugins
    from pertharness.host.run.recipes import open_recipe

    opened_recipe = open_recipe(recipe)
    registry = open_plugins(opened_recipe, CommandReporter(), build=True)
    folder = default_folder()
    fine = fetch_data(opened_recipe, registry, folder)
    files, unknown = files_of(opened_recipe, registry)
    for name in unknown:
        echo(f"{name}: NOT INSTALLED")
    fine &= bring_all(files, folder, accept=accept)
    for problem in registry.problems:
        echo(describe_problem(problem))
    if unknown or not fine or registry.problems:
        sys.exit(1)


def fetch_data(recipe: Recipe, registry: Registry, folder: Path) -> bool:
    """Fetch the published datasets of a recipe; return False if one is not available."""
    from pertharness.contract.errors import FetchError
    from pertharness.host.cli.fetching import fetch_shown
    from pertharness.host.fetch import local_file
    from pertharness.host.plan.planner import find_offer

    fine = True
    for name, entry in recipe.datasets.items():
        source = find_offer(registry.datasets, entry.offer, "dataset").offer.source
        if entry.file is not None or source is None:
            echo(f"{name}: available, {entry.file or 'built in'}")
            continue
        was_there = local_file(source, entry.offer, folder) is not None
        try:
            path = fetch_shown(entry.offer, source, folder=folder)
            echo(f"{name}: {'available' if was_there else 'fetched'}, licence {source.licence}: {path}")
        except FetchError as error:
            echo(f"{name}: FAILED, {error}")
            fine = False
    return fine


def files_of(recipe: Recipe, registry: Registry) -> tuple[list[Declared], list[str]]:
    """Return the files that a recipe's models and the embeddings of their slots declare, and unknown names."""
    from pertharness.host.plugins.registry import look_up
    from pertharness.host.plugins.weights import declared_by, replaced_weights
    from pertharness.host.recipe import parse_model

    out = {parse_model(name).full_name for name in recipe.left_out}
    specs = recipe.models or [parse_model(name) for name in registry.models if name not in out]
    specs = [each for spec in specs for each in spec.candidates()]
    made = [embedding for spec in specs for embedding in spec.slots.values()]
    asked: list[tuple[str, Offered[ModelOffer] | Offered[EmbeddingOffer] | None, Mapping[str, Any]]] = []
    asked += [(spec.full_name, look_up(registry.models, spec.full_name), spec.params) for spec in specs]
    asked += [(each.full_name, look_up(registry.embeddings, each.full_name), each.params) for each in made]
    files: dict[tuple[str, str], Declared] = {}
    for _, offered, params in asked:
        replaced = replaced_weights(offered.offer, params) if offered else ()
        for declared in declared_by(registry, offered) if offered else ():
            if declared.file.wanted not in replaced:
                files[declared.plugin, declared.file.wanted] = declared
    for entry in recipe.datasets.values():
        data = look_up(registry.datasets, entry.offer)
        files |= {(each.plugin, each.file.wanted): each for each in (declared_by(registry, data) if data else ())}
    return list(files.values()), list(dict.fromkeys(name for name, offered, _ in asked if offered is None))
