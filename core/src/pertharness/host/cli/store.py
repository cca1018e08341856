"""``pertharness store``: the size of the store, and the removal of records that no run needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pertharness.contract.errors import StoreError
from pertharness.host.cli.inspect import columns
from pertharness.host.cli.shared_options import FILE, store_option
from pertharness.host.cli.streams import echo
from pertharness.host.run.run_folder import folder_of_run, read_manifest

if TYPE_CHECKING:
    from pertharness.host.store.prune import Pruned
    from pertharness.host.store.records import Store
    from pertharness.host.store.space import Space

SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@click.group(short_help="Show the size of the store, and remove records no run needs.")
def store() -> None:
    """Show the size of the store, and remove records no run needs."""


@store.command(short_help="Show the size of the store.")
@store_option
def size(store: Path | None) -> None:
    """Show number and size of the records of each stage, of unfinished work and of caches; and of kept models."""
    from pertharness.host.store.records import Store
    from pertharness.host.store.space import Space, kept_models, take_stock

    opened = Store.existing(store)
    rows = take_stock(opened)
    rows.append(Space("together", sum(row.number for row in rows), sum(row.n_bytes for row in rows)))
    echo(f"store {opened.root}")
    _print_rows(rows)
    if (models := kept_models(opened)).number:
        echo(f"fitted models among the predictions: {models.number}, {_size(models.n_bytes)}")


def _seconds(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Return an age such as ``30d`` in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", value or "")
    if value is not None and match is None:
        raise click.BadParameter(f"{value!r} is not an age; expected minutes, hours, days or weeks: 90m, 12h, 30d, 2w")
    return float(match[1]) * SECONDS[match[2]] if match else None


@store.command(short_help="Remove records that no run needs.")
@click.option(
    "--keep", "kept", type=FILE, multiple=True, metavar="RUN", help="A run to keep, or a folder of runs; repeatable."
)
@click.option(
    "--older",
    "older_s",
    callback=_seconds,
    metavar="AGE",
    help="Remove only what ended at least this long ago: 90m, 12h, 30d, 2w.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and stop.")
@store_option
def prune(kept: tuple[Path, ...], older_s: float | None, dry_run: bool, store: Path | None) -> None:
    """Remove records and unfinished work that no kept RUN names, that are older than AGE, or both if both are given.

    Records that a kept run or a run in progress needs are kept, with everything they were made from.
    """
    from pertharness.host.store.prune import prune as remove
    from pertharness.host.store.records import Store

    if not kept and older_s is None:
        raise click.UsageError(
            "this would remove every record; choose what to keep: --keep RUN (a run's folder, or one of runs "
            "such as runs), "
            "--older AGE (such as 30d), or both"
        )
    opened = Store.existing(store)
    manifests = [_read_kept(path, opened) for run in kept for path in _runs_in(folder_of_run(run))]
    _print_pruned(remove(opened, manifests, older_s, dry_run=dry_run), dry_run=dry_run)


def _runs_in(folder: Path) -> Sequence[Path]:
    """Return the folders of runs: `folder` itself, or those in it."""
    inside = sorted(path.parent for path in folder.glob("*/manifest.json"))
    return inside if inside and not (folder / "manifest.json").exists() else [folder]


def _read_kept(run: Path, store: Store) -> dict[str, Any]:
    """Return the manifest of a run to keep.

    Raises
    ------
    RecipeError
        If it cannot be read.
    StoreError
        If the store holds nothing of it: then it is another's, and keeping it would keep nothing.
    """
    manifest = read_manifest(run)
    done = {key: record for key, record in manifest["records"].items() if record["state"] == "done"}
    if done and not any(store.record(record["stage"], key).is_dir() for key, record in done.items()):
        raise StoreError(
            f"the store {str(store.root)!r} holds no record of the run {str(run)!r}, whose store was "
            f"{manifest['store']!r}; name that with --store, or leave out --keep {run}"
        )
    return manifest


def _print_pruned(pruned: Pruned, *, dry_run: bool) -> None:
    """Print what was removed, or would be, and what stays."""
    _print_rows(pruned.removed.values())
    n_bytes = sum(space.n_bytes for space in pruned.removed.values())
    number = sum(space.number for space in pruned.removed.values())
    for line in pruned.skipped:
        echo(f"left alone: {line}", err=True)
    used = f", {pruned.n_used} of them in use by a run in progress" if pruned.n_used else ""
    echo(
        f"{'would remove' if dry_run else 'removed'} {number} {'entry' if number == 1 else 'entries'}, "
        f"{_size(n_bytes)}; {pruned.n_kept} record{'' if pruned.n_kept == 1 else 's'} stay{used}"
    )


def _print_rows(rows: Iterable[Space]) -> None:
    table = [(row.name, str(row.number), _size(row.n_bytes)) for row in rows]
    widest = max((len(row[2]) for row in table), default=0)
    for line in columns([(name, number.rjust(8), size.rjust(widest)) for name, number, size in table]):
        echo(line)


def _size(n_bytes: int) -> str:
    unit, name = next(((unit, name) for unit, name in ((1e9, "GB"), (1e6, "MB")) if n_bytes >= unit), (1e3, "kB"))
    return f"{n_bytes / unit:.1f} {name}"
