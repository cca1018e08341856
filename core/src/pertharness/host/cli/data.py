"""``pertharness data``: the datasets on offer, and the published files behind them."""

from __future__ import annotations

import json
import subprocess
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from pertharness.contract.cards import DatasetOffer
from pertharness.contract.errors import DataError, RecipeError
from pertharness.host.cli.data_check import check_command
from pertharness.host.cli.fetching import fetch_shown
from pertharness.host.cli.option_groups import GroupedCommand
from pertharness.host.cli.shared_options import data_options, data_params
from pertharness.host.cli.streams import echo
from pertharness.host.fetch import default_folder, local_file, place_of
from pertharness.host.fetch.checksums import recorded
from pertharness.host.plugins.registry import open_registry

_FOLDER = click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path), help="Folder of published files. [PERTHARNESS_DATA]"
)


@click.group()
def data() -> None:
    """List, fetch and check datasets."""


data.add_command(check_command)


def _offers() -> dict[str, DatasetOffer]:
    return {name: offered.offer for name, offered in open_registry().datasets.items()}


def _offer(name: str, offers: dict[str, DatasetOffer]) -> DatasetOffer:
    if name not in offers:
        near = get_close_matches(name, offers, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise RecipeError(
            f"no installed plugin offers a dataset {name!r}{meant} (there are {', '.join(sorted(offers))})"
        )
    return offers[name]


def _origin(offer: DatasetOffer) -> str:
    """Return where the data come from."""
    if offer.source is not None:
        return urlsplit(offer.source.url).hostname or offer.source.url
    return "your own file" if offer.takes_file else "built in"


def _size(offer: DatasetOffer) -> str:
    size = offer.source.size_mb if offer.source else None
    return "" if size is None else f"{size:.0f} MB"


def _is_local(name: str, offer: DatasetOffer, folder: Path) -> str:
    if offer.source is None:
        return ""
    return "local" if local_file(offer.source, name, folder) else "not fetched"


@data.command("list")
@_FOLDER
def list_command(folder: Path | None) -> None:
    """List the datasets on offer."""
    folder = folder or default_folder()
    rows = [
        (name, _size(offer), _origin(offer), _is_local(name, offer, folder), offer.summary)
        for name, offer in sorted(_offers().items())
    ]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)][:-1]
    for *cells, summary in rows:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        echo("  ".join([*padded, summary]))


@data.command("fetch")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--again", is_flag=True, help="Fetch again even if the file exists, and record its new checksum.")
@_FOLDER
def fetch_command(names: tuple[str, ...], *, again: bool, folder: Path | None) -> None:
    """Fetch published datasets; files that exist already are checked and kept."""
    folder = folder or default_folder()
    offers = _offers()
    for name, offer in [(name, _offer(name, offers)) for name in names]:
        if offer.source is None:
            echo(f"{name}: nothing to fetch ({_origin(offer)})")
            continue
        echo(f"{name}: {fetch_shown(name, offer.source, folder=folder, again=again)}")


@data.command("labels", cls=GroupedCommand)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The CSV to write (default: print it).")
@data_options
def labels_command(file: Path, out: Path | None, **options: Any) -> None:
    """Write a draft of a label map: each label of FILE, what it is read as, and how often it occurs.

    Correct the column "targets" (genes joined by +, control, or drop) and pass the file with --label-map. For labels
    that cannot be read, the column "reading" has the reason.
    """
    # A plugin reads the file, and plugins are never imported here.
    request = json.dumps(
        {"file": str(file.absolute()), "params": data_params(options), "out": str(out.absolute()) if out else None}
    )
    command = [sys.executable, "-I", "-m", "pertharness.datasets.draft"]
    done = subprocess.run(command, input=request, capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode:
        raise DataError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "the labels cannot be read")
    echo(done.stdout.rstrip("\n"))


@data.command("info")
@click.argument("name")
@_FOLDER
def info_command(name: str, folder: Path | None) -> None:
    """Show where a dataset comes from and where its files are."""
    offer = _offer(name, _offers())
    for key, value in _facts(name, offer, folder or default_folder()).items():
        echo(f"{key + ':':<20}{value}")


def _facts(name: str, offer: DatasetOffer, folder: Path) -> dict[str, Any]:
    """Return the facts of a dataset, by the name under which they are printed."""
    facts = {
        "name": name, "summary": offer.summary, "reference": offer.reference or "none given",
        "licence": offer.licence, "modality": offer.modality or "not given", "source": _origin(offer),
    }  # fmt: skip
    if offer.source is None:
        return facts
    place = place_of(offer.source, name, folder)
    seen = {path: recorded(path, place.folder) for path in (place.download, place.wanted)}
    recorded_sums = ", ".join(f"{path.name} {entry.sha256} ({entry.date})" for path, entry in seen.items() if entry)
    return facts | {
        "url": offer.source.url,
        "licence of the file": offer.source.licence,
        "size": _size(offer) or "not known",
        "sha256 known": offer.source.sha256 or "no",
        "sha256 recorded": recorded_sums or "no",
        "path": f"{place.wanted} ({_is_local(name, offer, folder)})",
    }
