"""``pertharness doctor``: machine, store and plugins, and what is wrong with them."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path

import click

from pertharness import __version__
from pertharness.host.cli.inspect import columns
from pertharness.host.cli.options import store_option


@click.command(short_help="Show machine, store and plugins, and what is wrong with them.")
@store_option
def doctor(store: Path | None) -> None:
    """Show the machine, the store and every plugin; exit 1 if a plugin cannot be used."""
    import psutil

    from pertharness.host.fetch import default_folder
    from pertharness.host.hardware import gpus, missing_hardware
    from pertharness.host.registry import open_registry
    from pertharness.host.store import STAGES, Store

    records = Store.open(store)
    registry = open_registry(records)
    disk = shutil.disk_usage(records.root)
    counts = ", ".join(f"{_count(records.root / stage)} {stage}" for stage in STAGES)
    rows = [
        ("pertharness", f"{__version__}, Python {platform.python_version()} at {sys.executable}"),
        (
            "machine",
            f"{platform.platform()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 1e9:.0f} GB of memory",
        ),
        ("GPU", "; ".join(f"{name}, {memory:.0f} GB" for name, memory in gpus()) or "none that nvidia-smi shows"),
        ("store", f"{records.root}: {counts}; {disk.free / 1e9:.0f} GB free"),
        ("data", f"{default_folder()}"),
    ]
    rows += [
        (f"plugin {name}", f"{p.ref.version}, module {p.ref.module}") for name, p in sorted(registry.plugins.items())
    ]
    devices = "cuda" if gpus() else "cpu"
    for name, one in sorted(registry.models.items()):
        lacks = missing_hardware(one.offer.needs, devices)
        rows.append((f"model {name}", f"lacks: {lacks}" if lacks else "can run here"))
    rows += [(f"plugin {one.plugin}", f"CANNOT BE USED ({one.state}): {one.message}") for one in registry.problems]
    for line in columns(rows):
        click.echo(line)
    if registry.problems:
        sys.exit(1)


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0
