"""The folder of environments: which are built, which are in use, and whether they are intact."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pertharness.contract.errors import BuildError, PertharnessError
from pertharness.contract.protocol import PROJECT
from pertharness.files.whole import write_text
from pertharness.host.environments.request_checks import NAME
from pertharness.host.environments.wheels import normal_name
from pertharness.host.environments.whole import damaged_packages, describe_damage
from pertharness.host.packages.fingerprint import plugin_hash, worker_hash
from pertharness.host.store.leases import Lease, take_lease

FORMAT = 1
MARKER = "environment.json"
_FOLDER = re.compile(r"[A-Za-z0-9_-]+")
Fitness = Literal["ok", "outdated", "broken"]


class Environment(BaseModel):
    """The content of an environment, as in its ``environment.json``.

    Attributes
    ----------
    folder
        Name of its folder, which ends with the first characters of `hash`.
    libraries
        Normalised names of the libraries that were installed from folders beside the plugin's.
    source
        sha256 over the files of the plugin and of these libraries.
    worker
        sha256 over the worker side of its harness.
    python, interpreter
        Version of Python, and the base interpreter.
    wanted_python
        The requested Python: a version specifier, or the path of an interpreter.
    cpu_only
        Whether it was requested without its lock for CUDA.
    asked
        How the plugin was requested.
    packages
        Normalised name -> version of all its packages.
    misstated
        Files whose size differed from that in their package's record when they were installed.
    notes
        Known oddities: yanked versions, excused requirements.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    name: str
    module: str
    distribution: str
    version: str
    libraries: tuple[str, ...] = ()
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
    """A folder of environments; ``NAME.json`` in it names a plugin's environment in use."""

    root: Path

    def current(self, name: str) -> Environment | None:
        """Return a plugin's environment in use, or None."""
        return _read(self.pointer(name)) if NAME.fullmatch(name) else None

    def pointer(self, name: str) -> Path:
        """Return the file that names a plugin's environment in use.

        Raises
        ------
        BuildError
            If the name is invalid; as a path it could leave the folder.
        """
        if not NAME.fullmatch(name):
            raise BuildError(f"no environment {name!r}; available: {self._known()}")
        return self.root / f"{name}.json"

    def _known(self) -> str:
        return ", ".join(path.stem for path in sorted(self.root.glob("*.json"))) or "none"

    def last(self, name: str) -> Environment | None:
        """Return a plugin's environment in use; if it cannot be read, the newest one, or None."""
        environments = [environment for environment in self.built() if environment.name == name]
        return self.current(name) or max(environments, key=lambda environment: environment.built, default=None)

    def all_current(self) -> Iterator[tuple[str, Environment | None]]:
        """Yield every plugin with its environment in use; None if its file cannot be read."""
        for path in sorted(self.root.glob("*.json")):
            yield path.stem, _read(path)

    def built(self) -> list[Environment]:
        """Return all environments with a folder, also those no longer in use."""
        environments = [
            _read(path) for path in sorted(self.root.glob(f"*/{MARKER}")) if not path.parent.name.startswith(".")
        ]
        return [environment for environment in environments if environment is not None]

    def path_of(self, environment: Environment) -> Path:
        """Return the folder of an environment."""
        return self.root / environment.folder

    def python(self, environment: Environment) -> Path:
        """Return the interpreter of an environment."""
        return self.path_of(environment) / "bin" / "python"

    def use(self, environment: Environment) -> None:
        """Make an environment the one in use for its plugin."""
        write_text(self.pointer(environment.name), environment.model_dump_json(indent=1))

    def lock(self, name: str) -> Lease | None:
        """Return the lock on builds of a name; None if another process holds it."""
        return take_lease(self.root / f".{name}.lock")

    def remove(self, name: str, *, old_only: bool = False) -> list[str]:
        """Remove all environments of a plugin, or those no longer in use, and return the names of their folders.

        Raises
        ------
        BuildError
            If the plugin has no environment.
        """
        current = self.current(name) if old_only else None
        folders = [
            environment.folder
            for environment in self.built()
            if environment.name == name and (current is None or environment.folder != current.folder)
        ]
        pointer = self.pointer(name)
        if not folders and not old_only and not pointer.exists():
            raise BuildError(f"no environment {name!r}; available: {self._known()}")
        if not old_only:
            pointer.unlink(missing_ok=True)
        for folder in folders:
            discard(self.root / folder)
        return folders


def open_folder(path: Path | None = None) -> Folder:
    """Return the folder at `path`, else at ``PERTHARNESS_ENVS``, else in the user's data folder; it may not exist."""
    named = os.environ.get("PERTHARNESS_ENVS")
    if path is None and named:
        path = Path(named)
    if path is None:
        import platformdirs

        path = Path(platformdirs.user_data_dir("pertharness")) / "environments"
    return Folder(path.expanduser().absolute())


def discard(path: Path) -> None:
    """Remove a folder; rename it first, so that no process sees it half removed."""
    hidden = path.with_name(f".removed-{path.name}-{os.getpid()}")
    try:
        path.rename(hidden)
    except FileNotFoundError:
        return
    shutil.rmtree(hidden, ignore_errors=True)


def site_packages(environment: Path) -> Path:
    """Return the folder of an environment's packages; a path that does not exist if it has none."""
    return next(iter(sorted(environment.glob("lib/python3*/site-packages"))), environment / "lib" / "site-packages")


def packages_in(environment: Path) -> dict[str, str]:
    """Return normalised name -> version of all packages of an environment, read from its files."""
    distribution_list = distributions(path=[str(site_packages(environment))])
    return dict(sorted((normal_name(dist.name), dist.version) for dist in distribution_list if dist.name))


def source_in(environment: Path, module: str, distribution: str, libraries: Sequence[str] = ()) -> str:
    """Return the sha256 over the files of an environment's plugin, and of its libraries.

    Parameters
    ----------
    environment
        Folder of the environment.
    module, distribution
        Names of the plugin's module and distribution.
    libraries
        Names of the distributions of the libraries.

    Raises
    ------
    PertharnessError
        If the module is missing.
    """
    packages = site_packages(environment)
    owner, *others = (
        next(iter(distributions(name=name, path=[str(packages)])), None) for name in (distribution, *libraries)
    )
    return plugin_hash(module, owner, [packages], [library for library in others if library is not None])


def fitness(folder: Folder, environment: Environment, *, every_file: bool = True) -> tuple[Fitness, str]:
    """Return whether an environment can be used as it was built, and the reason if not.

    Parameters
    ----------
    every_file
        Also check the size of every file, which takes 0.1 s per 10 000 files.
    """
    path = folder.path_of(environment)
    if not path.is_dir():
        return "broken", "its folder is gone"
    marker = _read(path / MARKER)
    if marker is None or marker.hash != environment.hash:
        return "broken", f"its {MARKER} is missing or belongs to another environment"
    if reason := _harm_of_python(folder.python(environment), environment):
        return "broken", reason
    packages = packages_in(path)
    if changed := [name for name, version in environment.packages.items() if packages.get(name) != version]:
        return (
            "broken",
            f"among its packages, {', '.join(changed[:5])} {'is' if len(changed) == 1 else 'are'} missing or changed",
        )
    try:
        source = source_in(path, environment.module, environment.distribution, environment.libraries)
    except PertharnessError:
        source = ""
    if source != environment.source:
        whose = " or of ".join([repr(environment.module), *environment.libraries])
        return "broken", f"the files of {whose} in it were changed"
    if every_file and (damaged := damaged_packages(site_packages(path), environment.misstated)):
        return "broken", describe_damage(damaged)
    if environment.worker != worker_hash():
        return "outdated", "it has another version of pertharness than the running one"
    harness = site_packages(path) / PROJECT
    if not (harness / "__init__.py").is_file() or worker_hash(harness) != environment.worker:
        return "broken", f"the files of {PROJECT!r} in it were changed"
    return "ok", ""


def _harm_of_python(python: Path, environment: Environment) -> str:
    """Return the reason why the interpreter is not that of the build, without starting it; empty if it is."""
    if not python.exists():
        return f"its interpreter is gone ({environment.interpreter})"
    if str(python.resolve()) != environment.interpreter or not os.access(python, os.X_OK):
        return f"its bin/python is not a link to the interpreter that it was built with ({environment.interpreter})"
    try:
        text = (python.parents[1] / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return "" if text.startswith("home") or "\nhome" in text else "its pyvenv.cfg is gone or damaged"


def _read(path: Path) -> Environment | None:
    try:
        environment = Environment.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    plain = bool(NAME.fullmatch(environment.name)) and _FOLDER.fullmatch(
        environment.folder
    )  # a path would lead elsewhere
    return environment if environment.format == FORMAT and plain else None
