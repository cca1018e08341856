"""``pertharness doctor``: the machine, the store and the plugins, with their problems."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pertharness.host.cli.inspect import columns
from pertharness.host.cli.shared_options import store_option
from pertharness.host.cli.streams import echo
from pertharness.version import __version__

if TYPE_CHECKING:
    from pertharness.contract.cards import EmbeddingOffer, ModelOffer
    from pertharness.host.execution.hardware import Machine
    from pertharness.host.plugins.registry import Offered, Registry


@click.command(short_help="Show the machine, the store and the plugins, and their problems.")
@store_option
def doctor(store: Path | None) -> None:
    """Show the machine, the store and every plugin; exit 1 if a plugin cannot be used."""
    from pertharness.host.cli.env import environment_rows
    from pertharness.host.environments.folder import open_folder
    from pertharness.host.execution.local import local_executor
    from pertharness.host.fetch import default_folder
    from pertharness.host.plugins.describe import cache_folder
    from pertharness.host.plugins.registry import open_registry
    from pertharness.host.store.records import default_path

    registry = open_registry()
    root = (store or default_path()).expanduser().absolute()
    machine = local_executor(root).machine
    rows = [
        ("pertharness", f"{__version__}, Python {platform.python_version()} at {sys.executable}"),
        ("machine", f"{platform.platform()}, {os.cpu_count()} cores, {machine.ram_gb:.0f} GB of memory"),
        ("GPU", _gpus(machine)),
        ("isolation", _isolation()),
        ("store", f"{root}: {_store(root)}; {machine.disk_gb:.0f} GB free"),
        *_data(registry, default_folder()),
    ]
    rows += [
        (f"plugin {name}", f"{p.ref.version}, module {p.ref.module}, {'its environment' if p.folder else 'installed'}")
        for name, p in sorted(registry.plugins.items())
    ]
    rows += [
        (f"environment {name}", ", ".join(filter(None, facts))) for name, *facts in environment_rows(open_folder())
    ]
    rows += _models(registry, machine, default_folder(), root if root.exists() else cache_folder())
    rows += [
        (f"plugin {problem.plugin}", f"CANNOT BE USED ({problem.state}): {problem.message}")
        for problem in registry.problems
    ]
    for line in columns(rows):
        echo(line)
    if registry.problems:
        sys.exit(1)


def _store(root: Path) -> str:
    """Return the contents of a store; create none.

    Raises
    ------
    StoreError
        If it cannot be used.
    """
    from pertharness.host.store.records import STAGES, Store

    if not root.exists():
        return "none yet, the first run makes it"
    records = Store.open(root)
    return ", ".join(f"{_count(records.root / stage)} {stage}" for stage in STAGES)


def _gpus(machine: Machine) -> str:
    """Return which GPUs there are, and which CUDA version their driver runs."""
    if not machine.gpus:
        return "none (of those in nvidia-smi and CUDA_VISIBLE_DEVICES)"
    cuda = f"; CUDA {machine.cuda}" if machine.cuda else ""
    sizes = [f"{gpu.memory_gb:.0f} GB" if gpu.memory_gb else "memory unknown" for gpu in machine.gpus]
    return "; ".join(f"{gpu.name}, {size}" for gpu, size in zip(machine.gpus, sizes, strict=True)) + cuda


def _isolation() -> str:
    """Return how this machine keeps models from the truth, and what it lacks for this."""
    from pertharness.host.execution.sandbox import describe_machine, find_mechanism
    from pertharness.host.execution.start import can_have_own_memory

    mechanism = find_mechanism("auto")
    if mechanism == "none":
        return (
            f"{describe_machine()}: no sandbox; a model's input files do not hold the truth, but it could read other "
            "files"
        )
    own = mechanism == "bwrap" or can_have_own_memory()
    return (
        f"{describe_machine()}; /dev/shm is "
        f"{'private to each job' if own else 'shared between jobs that are not cheap'}"
    )


def _data(registry: Registry, folder: Path) -> list[tuple[str, str]]:
    """Return the published datasets that are available locally."""
    from pertharness.host.fetch import local_file

    sources = {name: offered.offer.source for name, offered in sorted(registry.datasets.items())}
    published = {name: source for name, source in sources.items() if source}
    here = [name for name, source in published.items() if local_file(source, name, folder)]
    away = [name for name in published if name not in here]
    parts = [f"fetched: {', '.join(here) or 'none'}"] + ([f"not fetched: {', '.join(away)}"] if away else [])
    return [("data", f"{folder}: {'; '.join(parts)}")]


def _models(registry: Registry, machine: Machine, folder: Path, memory: Path) -> list[tuple[str, str]]:
    """Return the available and the missing files of each model and embedding."""
    from pertharness.host.execution.hardware import missing_hardware
    from pertharness.host.plugins.weights import all_declared, declared_by, examine

    examined = {
        (declared.plugin, declared.file.wanted): examine(declared, folder, memory)
        for declared in all_declared(registry)
    }
    rows = [
        (f"weights {file.declared.plugin}", file.reason or f"{file.declared.title}: {file.path}")
        for file in examined.values()
    ]
    offers: list[tuple[str, Offered[ModelOffer] | Offered[EmbeddingOffer]]] = [
        *((f"model {name}", offered) for name, offered in sorted(registry.models.items())),
        *((f"embedding {name}", offered) for name, offered in sorted(registry.embeddings.items())),
    ]
    for title, offered in offers:
        files = [examined[declared.plugin, declared.file.wanted] for declared in declared_by(registry, offered)]
        needed = [file for file in files if file.condition == "damaged" or not file.declared.file.optional]
        reasons = [missing_hardware(offered.offer.needs, "cuda", machine) or "", *(file.reason for file in needed)]
        lacks = "; ".join(filter(None, reasons))
        absent = [file.declared.file.wanted for file in files if file.condition == "missing" and file not in needed]
        without = f"; optional files that are missing: {', '.join(absent)}" if absent else ""
        rows.append((title, f"cannot run here: {lacks}" if lacks else f"can run here{without}"))
    return rows


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0
