"""``pertharness weights``: the weights and side files of models and embeddings."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from pertharness.contract.errors import FetchError
from pertharness.host.cli.fetching import shown_progress
from pertharness.host.cli.inspect import columns
from pertharness.host.cli.streams import echo
from pertharness.host.fetch import ByHandError, default_folder
from pertharness.host.fetch.licences import has_to_be_confirmed, restricts
from pertharness.host.plugins.registry import open_registry
from pertharness.host.plugins.weights import Declared, Found, LicenceError, all_declared, bring, declared_under, examine
from pertharness.host.store.records import Store

_FOLDER = click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path), help="Folder of published files. [PERTHARNESS_DATA]"
)
_STORE = click.option(
    "--store", type=click.Path(file_okay=False, path_type=Path), help="Folder of records. [PERTHARNESS_STORE]"
)
accept_option = click.option(
    "--accept-licence", "accept", is_flag=True, help="Accept the licences that restrict use; needed once per file."
)


@click.group()
def weights() -> None:
    """List and fetch the weights and side files of models and embeddings."""


@weights.command("list")
@click.argument("name", required=False)
@_FOLDER
@_STORE
def list_command(name: str | None, folder: Path | None, store: Path | None) -> None:
    """List the files that NAME (a model, an embedding or a plugin) declares, or all."""
    records = Store.open(store)
    registry = open_registry()
    declared = declared_under(registry, name) if name else all_declared(registry)
    here = folder or default_folder()
    rows = [describe(examine(file, here, records.root), here) for file in declared]
    for line in columns(rows) or [f"{name or 'no installed plugin'}: no weights or side files declared"]:
        echo(line)


def describe(examined: Found, folder: Path) -> tuple[str, ...]:
    """Return plugin, file, size, use, licence and state as a row."""
    file = examined.declared.file
    size = "" if file.size_mb is None else f"{file.size_mb:.3g} MB"
    use = "optional" if file.optional else "needed"
    word = "to be confirmed" if has_to_be_confirmed(file, folder) else "confirmed"
    licence = f"licence {file.licence}" + (f", {word}" if restricts(file.licence) else "")
    state = {"available": str(examined.path), "missing": "not fetched"}.get(
        examined.condition, f"DAMAGED: {examined.reason}"
    )
    if examined.condition == "missing" and file.by_hand:
        state = "not here, brought by hand"
    if examined.condition == "missing" and examined.path.is_file():
        state = "licence not confirmed"
    return examined.declared.plugin, file.wanted, size, use, licence, state


@weights.command("fetch")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--again", is_flag=True, help="Fetch again even if the file exists, and record its new checksum.")
@accept_option
@_FOLDER
def fetch_command(names: tuple[str, ...], *, again: bool, accept: bool, folder: Path | None) -> None:
    """Fetch the files of models, embeddings or plugins; files that exist already are checked and kept.

    A licence that restricts use has to be confirmed once, with --accept-licence. Exit status 1 if a file
    could not be fetched.
    """
    registry = open_registry()
    fine = True
    for name in names:
        declared = declared_under(registry, name)
        if not declared:
            echo(f"{name}: nothing to fetch")
        fine &= bring_all(declared, folder or default_folder(), accept=accept, again=again)
    if not fine:
        sys.exit(1)


def bring_all(declared: Sequence[Declared], folder: Path, *, accept: bool, again: bool = False) -> bool:
    """Fetch the files that are missing and print each; return False if one is not available, after trying all."""
    fetched = [_bring_shown(file, folder, accept=accept, again=again) for file in declared]
    return all(fetched)


def _bring_shown(declared: Declared, folder: Path, *, accept: bool, again: bool) -> bool:
    """Fetch a file if it is missing and print it with its licence; return False if it is not available."""
    title = f"{declared.offer}: {declared.file.wanted}"
    licence = f"licence {declared.file.licence}"
    was_there = declared.place(folder).wanted.is_file() and not again
    try:
        with shown_progress(title) as progress:
            path = bring(declared, folder, accept=accept, again=again, progress=progress)
    except (LicenceError, ByHandError) as error:
        echo(f"{title}: NOT FETCHED, {error}")
        return False
    except FetchError as error:
        echo(f"{title}: FAILED, {error}")
        return False
    echo(f"{title}: {'available' if was_there or declared.file.by_hand else 'fetched'}, {licence}: {path}")
    return True
