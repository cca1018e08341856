"""``pertharness prefetch``: download everything that a recipe needs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pertharness.host.cli.shared_options import FILE
from pertharness.host.cli.streams import echo
from pertharness.host.cli.weights import accept_option, bring_all

if TYPE_CHECKING:
    from pertharness.host.plugins.registry import Registry
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
    from pertharness.host.plugins.weights import declared_by
    from pertharness.host.recipe import parse_model

    out = {parse_model(name).full_name for name in recipe.left_out}
    specs = recipe.models or [parse_model(name) for name in registry.models if name not in out]
    model_offers = {spec.full_name: look_up(registry.models, spec.full_name) for spec in specs}
    slots = [made.full_name for spec in specs for made in spec.embeddings]
    embedding_offers = {name: look_up(registry.embeddings, name) for name in slots}
    offers = [offered for offered in (*model_offers.values(), *embedding_offers.values()) if offered is not None]
    data = [look_up(registry.datasets, entry.offer) for entry in recipe.datasets.values()]
    files = {(declared.plugin, declared.file.wanted): declared for offered in [*offers, *filter(None, data)]
             for declared in declared_by(registry, offered)}  # fmt: skip
    unknown = [name for by_name in (model_offers, embedding_offers) for name, offer in by_name.items() if offer is None]
    return list(files.values()), unknown
