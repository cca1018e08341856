"""The folder of all environments: what is built there, which is in use, and whether it is still whole."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pertharness.contract.errors import BuildError, PertharnessError
from pertharness.contract.protocol import PROJECT
from pertharness.files.whole import write_text
from pertharness.host.environments.asked import NAME
from pertharness.host.environments.wheels import normal_name
from pertharness.host.environments.whole import damaged_packages, describe_damage
from pertharness.host.packages.fingerprint import plugin_hash, worker_hash
from pertharness.host.store.lock import Lock, try_lock

FORMAT = 1
MARKER = "environment.json"
_FOLDER = re.compile(r"[A-Za-z0-9_-]+")
Fitness = Literal["ok", "outdated", "broken"]


class Environment(BaseModel):
    """What an environment is made of, as its ``environment.json`` says.

    Attributes
    ----------
    folder
        Name of its folder, which ends with the beginning of `hash`.
    source
        sha256 over the plugin's files.
    worker
        sha256 over the worker side of the harness in it.
    python, interpreter
        Version, and the interpreter that it was made from.
    wanted_python
        What was asked for: a version specifier, or the path of an interpreter.
    cpu_only
        Whether it was asked for without its lock for CUDA.
    packages
        Normalised name -> version of all that is in it.
    misstated
        Files of packages that state another size for them than they have, from the day they were installed.
    notes
        What is odd and known: versions that were yanked, requirements that are excused.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    name: str
    module: str
    distribution: str
    version: str
    folder: str
    hash: str
    source: str
    worker: str
    asked: str
    lock: str
    python: str
    interpreter: str
    wanted_python: str
    cpu_only: bool = False
    misstated: tuple[str, ...] = ()
    packages: dict[str, str]
    notes: list[str] = []
    built: str
    seconds: float


@dataclass(frozen=True)
class Folder:
    """A folder of environments; ``NAME.json`` beside them says which of a plugin's is in use."""

    root: Path

    def current(self, name: str) -> Environment | None:
        """Return the environment of a plugin that is in use, or None."""
        return _read(self.pointer(name)) if NAME.fullmatch(name) else None

    def pointer(self, name: str) -> Path:
        """Return the file that says which environment of a plugin is in use.

        Raises
        ------
        BuildError
            If there can be no plugin of that name; as a path it would lead elsewhere.
        """
        if not NAME.fullmatch(name):
            raise BuildError(f"there is no environment {name!r}; there are: {self._known()}")
        return self.root / f"{name}.json"

    def _known(self) -> str:
        return ", ".join(path.stem for path in sorted(self.root.glob("*.json"))) or "none"

    def last(self, name: str) -> Environment | None:
        """Return the environment of a plugin that is in use, else, where that cannot be read, the newest, or None."""
        mine = [one for one in self.built() if one.name == name]
        return self.current(name) or max(mine, key=lambda one: one.built, default=None)

    def all_current(self) -> Iterator[tuple[str, Environment | None]]:
        """Yield what is in use of every plugin, None where its file cannot be read."""
        for path in sorted(self.root.glob("*.json")):
            yield path.stem, _read(path)

    def built(self) -> list[Environment]:
        """Return all environments whose folder is there, also those that are no longer in use."""
        found = [_read(path) for path in sorted(self.root.glob(f"*/{MARKER}")) if not path.parent.name.startswith(".")]
        return [one for one in found if one is not None]

    def place(self, environment: Environment) -> Path:
        """Return the folder of an environment."""
        return self.root / environment.folder

    def python(self, environment: Environment) -> Path:
        """Return the interpreter of an environment."""
        return self.place(environment) / "bin" / "python"

    def use(self, environment: Environment) -> None:
        """Put an environment to use for its plugin."""
        write_text(self.pointer(environment.name), environment.model_dump_json(indent=1))

    def lock(self, name: str) -> Lock | None:
        """Return the lock on what is built under a name, None where another process has it."""
        return try_lock(self.root / f".{name}.lock")

    def remove(self, name: str, *, old_only: bool = False) -> list[str]:
        """Remove the environments of a plugin, or those that are no longer in use, and give their folders' names.

        Raises
        ------
        BuildError
            If there is none.
        """
        kept = self.current(name) if old_only else None
        found = [one.folder for one in self.built() if one.name == name and (kept is None or one.folder != kept.folder)]
        pointer = self.pointer(name)
        if not found and not old_only and not pointer.exists():
            raise BuildError(f"there is no environment {name!r}; there are: {self._known()}")
        if not old_only:
            pointer.unlink(missing_ok=True)
        for folder in found:
            discard(self.root / folder)
        return found


def open_folder(path: Path | None = None) -> Folder:
    """Return the folder at `path`, else at ``PERTHARNESS_ENVS``, else in the user's data folder; it need not exist."""
    named = os.environ.get("PERTHARNESS_ENVS")
    if path is None and named:
        path = Path(named)
    if path is None:
        import platformdirs

        path = Path(platformdirs.user_data_dir("pertharness")) / "environments"
    return Folder(path.expanduser().absolute())


def discard(path: Path) -> None:
    """Remove a folder, out of sight first, so that nobody meets a half of it."""
    gone = path.with_name(f".removed-{path.name}-{os.getpid()}")
    try:
        path.rename(gone)
    except FileNotFoundError:
        return
    shutil.rmtree(gone, ignore_errors=True)


def site_packages(place: Path) -> Path:
    """Return where an environment's packages lie; a path that is not there if it has none."""
    return next(iter(sorted(place.glob("lib/python3*/site-packages"))), place / "lib" / "site-packages")


def packages_in(place: Path) -> dict[str, str]:
    """Return normalised name and version of all packages of an environment, read from its files."""
    found = distributions(path=[str(site_packages(place))])
    return dict(sorted((normal_name(one.name), one.version) for one in found if one.name))


def source_in(place: Path, module: str, distribution: str) -> str:
    """Return the sha256 over the files of an environment's plugin.

    Parameters
    ----------
    place
        Folder of the environment.
    module, distribution
        Of the plugin.

    Raises
    ------
    PertharnessError
        If its module is not there.
    """
    packages = site_packages(place)
    owner = next(iter(distributions(name=distribution, path=[str(packages)])), None)
    return plugin_hash(module, owner, [packages])


def fitness(folder: Folder, environment: Environment, *, every_file: bool = True) -> tuple[Fitness, str]:
    """Return whether an environment can be used as it was built, and if not why.

    Parameters
    ----------
    every_file
        Look also at the size of every file in it, which takes a tenth of a second per 10 000 of them.
    """
    place = folder.place(environment)
    if not place.is_dir():
        return "broken", "its folder is gone"
    marker = _read(place / MARKER)
    if marker is None or marker.hash != environment.hash:
        return "broken", f"its {MARKER} is missing or another's"
    if why := _harm_of_python(folder.python(environment), environment):
        return "broken", why
    there = packages_in(place)
    if lost := [name for name, version in environment.packages.items() if there.get(name) != version]:
        return "broken", f"of its packages {', '.join(lost[:5])} {'is' if len(lost) == 1 else 'are'} missing or changed"
    try:
        source = source_in(place, environment.module, environment.distribution)
    except PertharnessError:
        source = ""
    if source != environment.source:
        return "broken", f"the files of {environment.module!r} in it were changed"
    if every_file and (damaged := damaged_packages(site_packages(place), environment.misstated)):
        return "broken", describe_damage(damaged)
    if environment.worker != worker_hash():
        return "outdated", "it holds another version of pertharness than the one that is running"
    mine = site_packages(place) / PROJECT
    if not (mine / "__init__.py").is_file() or worker_hash(mine) != environment.worker:
        return "broken", f"the files of {PROJECT!r} in it were changed"
    return "ok", ""


def _harm_of_python(python: Path, environment: Environment) -> str:
    """Return why the interpreter cannot be the one that was built with, without starting it; empty if it can."""
    if not python.exists():
        return f"its interpreter is gone ({environment.interpreter})"
    if str(python.resolve()) != environment.interpreter or not os.access(python, os.X_OK):
        return f"its bin/python is no link to the interpreter that it was built with ({environment.interpreter})"
    try:
        text = (python.parents[1] / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return "" if text.startswith("home") or "\nhome" in text else "its pyvenv.cfg is gone or damaged"


def _read(path: Path) -> Environment | None:
    try:
        found = Environment.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    plain = bool(NAME.fullmatch(found.name)) and _FOLDER.fullmatch(found.folder)  # a path would lead elsewhere
    return found if found.format == FORMAT and plain else None
