"""``pertharness env``: the environments of plugins."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pertharness.host.cli.inspect import columns
from pertharness.host.cli.shared_options import FILE
from pertharness.host.cli.streams import echo

if TYPE_CHECKING:
    from pertharness.host.environments.folder import Environment, Folder


def _say(line: str) -> None:
    echo(line, err=True)


def _opened() -> Folder:
    """Return the folder of environments; it need not exist."""
    from pertharness.contract.errors import BuildError
    from pertharness.host.environments.folder import open_folder

    folder = open_folder()
    if folder.root.exists() and not folder.root.is_dir():
        raise BuildError(f"{str(folder.root)!r} is a file; expected a folder: name another in PERTHARNESS_ENVS")
    return folder


@click.group()
def env() -> None:
    """Build, list, show and remove the environments of plugins.

    They are in the user's data folder, or in PERTHARNESS_ENVS.
    """


@env.command()
@click.argument("plugins", nargs=-1, metavar="[NAME|PATH|REQUIREMENT|GIT-URL]...")
@click.option("--all", "everything", is_flag=True, help="Rebuild environments that are broken or outdated.")
@click.option("--python", type=FILE, help="Interpreter to build with, instead of one that uv finds or downloads.")
@click.option("--cpu/--no-cpu", "cpu_only", default=None, help="Use the CPU lock even if there is a GPU.")
@click.option("--again", is_flag=True, help="Rebuild even if nothing has changed.")
def build(plugins: tuple[str, ...], everything: bool, python: Path | None, cpu_only: bool | None, again: bool) -> None:
    """Build the environments of plugins, and use them from now on; unchanged ones are not built again.

    A name can be the plugin of an existing environment, a folder plugins/NAME, or a package pertharness-NAME. An
    environment that is rebuilt by its name, or with --all, keeps its --python and --cpu. Exit status 1 if one could not
    be built.
    """
    from pertharness.contract.errors import BuildError
    from pertharness.host.environments.build import build as build_one
    from pertharness.host.plugins.wanted import rebuild

    if bool(plugins) == everything:
        raise click.UsageError("name a plugin, or pass --all for those that are broken or outdated")
    if python is not None and not python.is_file():
        raise click.UsageError(f"--python {str(python)!r}: no such file; expected the path of an interpreter")
    folder = _opened()
    failed = len(rebuild(folder, _say)) if everything else 0
    for plugin in plugins:
        try:
            built = build_one(plugin, folder, python=python, cpu_only=cpu_only, again=again, say=_say)
            echo(f"{built.name} {built.version}: {folder.path_of(built)}")
        except BuildError as error:
            echo(f"error: {error}", err=True)
            failed += 1
    if failed:
        sys.exit(1)


@env.command("list")
def list_() -> None:
    """List the environments: name, version, state, Python, size of the lock, where the plugin came from."""
    folder = _opened()
    rows = environment_rows(folder)
    if not rows:
        echo(f"no environments in {folder.root}; build one: pertharness env build NAME")
    for line in columns(rows):
        echo(line)


def environment_rows(folder: Folder) -> list[tuple[str, ...]]:
    """Return a row per environment."""
    from pertharness.host.environments.folder import fitness

    rows: list[tuple[str, ...]] = []
    used = set()
    for name, current in folder.all_current():
        if current is None:
            rows.append((name, "", "broken", "", "", "its file cannot be read; build it again"))
            continue
        state, why = fitness(folder, current)
        used.add(current.folder)
        rows.append(_row(current, state, why))
    return rows + [_row(built, "old", "") for built in folder.built() if built.folder not in used]


def _row(built: Environment, state: str, why: str) -> tuple[str, ...]:
    packages = f"{len(built.packages)} packages"
    location = f"{built.folder}  {why or built.asked}"
    return (built.name, built.version, state, f"Python {built.python}", packages, location)


@env.command()
@click.argument("name")
def show(name: str) -> None:
    """Show how the environment NAME was made, with the version of every package."""
    from pertharness.contract.errors import BuildError
    from pertharness.host.environments.folder import fitness

    folder = _opened()
    current = folder.current(name)
    names = [available for available, _ in folder.all_current()]
    if current is None and name in names:
        file = f"{folder.root / name!s}.json"
        raise BuildError(f"{file!r} cannot be read; build it again: pertharness env build {name}")
    if current is None:
        raise BuildError(f"no environment {name!r}; available: {', '.join(names) or 'none'}")
    state, why = fitness(folder, current)
    facts = {
        "name": current.name,
        "plugin": f"{current.distribution} {current.version}, module {current.module}", "requested as": current.asked,
        "state": f"{state}: {why}" if why else state, "folder": str(folder.path_of(current)),
        "Python": f"{current.python} of {current.interpreter}, requested: {current.wanted_python}",
        "lock": current.lock + (", requested with --cpu" if current.cpu_only else ""),
        "built": f"{current.built}, in {current.seconds:g} s",
    }  # fmt: skip
    if current.libraries:
        facts["libraries"] = f"{', '.join(current.libraries)}, from folders beside that of the plugin"
    rows = [*facts.items(), *(("note", note) for note in current.notes)]
    for line in columns([*rows, *((f"  {package}", version) for package, version in current.packages.items())]):
        echo(line)


@env.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--old", "old_only", is_flag=True, help="Remove only those that are no longer in use.")
def remove(names: tuple[str, ...], old_only: bool) -> None:
    """Remove environments; packages that others share stay in uv's cache."""
    for name in names:
        for folder in _opened().remove(name, old_only=old_only) or ["nothing"]:
            echo(f"{name}: removed {folder}")


@env.command()
@click.argument("path", type=FILE, default=Path())
@click.option("--python", help="Version of Python that the lock is for, e.g. 3.10.")
@click.option("--upgrade", is_flag=True, help="Use the newest versions instead of those in the lock.")
def lock(path: Path, python: str | None, upgrade: bool) -> None:
    """Write requirements.lock of the plugin in the folder PATH: requirements of its pyproject.toml and of a worker."""
    from pertharness.host.environments.lockfile import write_lock

    echo(f"wrote {write_lock(path, python=python, upgrade=upgrade)}")
