"""Read from a plugin's wheel, without importing it, what its environment needs: Python, lock and excused metadata."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version
from pydantic import BaseModel, ConfigDict, ValidationError

from pertharness.contract.errors import BuildError
from pertharness.contract.jobs import describe_invalid
from pertharness.files.whole import canonical_json, sha256_text
from pertharness.host.environments.pythons import both
from pertharness.host.environments.request_checks import NAME
from pertharness.host.environments.wheels import Wheel, normal_name, requirement_name
from pertharness.host.recipe.position import toml

FORMAT = 1
LOCK = "requirements.lock"
CUDA_LOCK = "requirements-cuda.lock"
SETTINGS = "environment.toml"
EXCUSE = '[[excused]] with package = "cpa-tools", requirement = "black", reason = "a formatter; not imported"'


class Excuse(BaseModel):
    """A requirement of a package that the environment does not meet on purpose."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    package: str
    requirement: str
    """Name of the requirement, with or without its version."""
    reason: str


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    excused: tuple[Excuse, ...] = ()


@dataclass(frozen=True)
class Spec:
    """The specification of an environment to build.

    Attributes
    ----------
    name, module
        Names of the plugin and of its module.
    python
        The required version, e.g. ``==3.10.*``, or the path of an interpreter.
    lock_name, lock
        File name and text of the lock.
    requested
        How the plugin was requested.
    cpu_only
        Whether it was requested without its lock for CUDA.
    libraries
        Wheels of its libraries that lie in folders beside it, which take the place of their lines in the lock.
    hash
        sha256 over the content of the environment.
    """

    name: str
    module: str
    wheel: Wheel
    core: Wheel
    python: str
    lock_name: str
    lock: str
    excused: tuple[Excuse, ...]
    requested: str
    cpu_only: bool = False
    libraries: tuple[Wheel, ...] = ()

    @property
    def hash(self) -> str:
        """Return the sha256 over the content of the environment."""
        parts = [FORMAT, self.name, self.python, self.lock, self.wheel.content, self.core.content]
        return sha256_text(canonical_json([*parts, *(library.content for library in self.libraries)]))

    @property
    def from_index(self) -> str:
        """Return the lines of the lock without those of the libraries that lie in folders."""
        own = {normal_name(library.distribution) for library in self.libraries}
        lines = self.lock.splitlines()
        return "\n".join(line for line in lines if requirement_name(line.split("#")[0].strip()) not in own)

    @property
    def folder(self) -> str:
        """Return the name of the environment's folder."""
        return f"{self.name}-{self.hash[:12]}"


def make_spec(
    wheel: Wheel, core: Wheel, requested: str, *, python: Path | None = None, cuda: bool = False,
    cpu_only: bool = False, libraries: tuple[Wheel, ...] = (),
) -> Spec:  # fmt: skip
    """Return the specification of the environment for a plugin's wheel.

    Parameters
    ----------
    wheel, core
        Wheels of the plugin and of the harness.
    python
        Interpreter to use instead of the one found by the plugin's requires-python.
    cuda
        Use the lock for CUDA if the plugin has one.
    cpu_only
        Whether the lock for CUDA was declined; kept for the next build.
    libraries
        Wheels of its libraries that lie in folders; see `pertharness.host.environments.libraries`.

    Raises
    ------
    BuildError
        If the wheel has no plugin, several plugins or no valid lock, the lock has another version of a library, or if
        it supports no Python that the harness supports.
    """
    if not wheel.plugins:
        raise BuildError(
            f"{requested}: {wheel.distribution} {wheel.version} offers no pertharness plugin (no entry point in the "
            "group 'pertharness'); request a package that does, usually pertharness-NAME, or for the folder of a "
            "plugin; requirements of a plugin belong into its requirements.lock"
        )
    if len(wheel.plugins) > 1:
        plugin_names = ", ".join(wheel.plugins)
        raise BuildError(
            f"{requested}: {wheel.distribution} must offer one plugin under 'pertharness'; it has {plugin_names}"
        )
    ((name, module),) = wheel.plugins.items()
    if not NAME.fullmatch(name) or not all(part.isidentifier() for part in module.split(".")):
        raise BuildError(
            f"{requested}: its entry point {name!r} = {module!r} names no plugin; expected a name of letters, digits, "
            "'_' and '-', a letter first, and a module"
        )
    both(wheel.requires_python, core.requires_python, f"plugin {name!r} ({requested})")
    package = module.split(".")[0]
    texts = {lock: wheel.read(f"{package}/{lock}") for lock in ([CUDA_LOCK, LOCK] if cuda else [LOCK])}
    chosen = next((lock for lock, text in texts.items() if text is not None), None)
    if chosen is None:
        raise BuildError(
            f"plugin {name!r} ({requested}): its package has no {package}/{LOCK}, which lists the packages of "
            "its environment; its author makes one with: pertharness env lock PATH"
        )
    lock = texts[chosen] or ""
    _check_lock(lock, f"plugin {name!r}: {package}/{chosen}")
    _check_libraries(libraries, lock, f"plugin {name!r}: {package}/{chosen}")
    settings = _read_settings(wheel.read(f"{package}/{SETTINGS}") or "", f"plugin {name!r}: {package}/{SETTINGS}")
    python_request = str(python.absolute()) if python else wheel.requires_python or ">=3.10"
    return Spec(
        name, module, wheel, core, python_request, chosen, lock, settings.excused, requested, cpu_only, libraries
    )


def locked(lock: str) -> dict[str, str]:
    """Return the versions in a lock, by normalised name."""
    texts = [line.split("#")[0].strip() for line in lock.splitlines()]
    requirements = [Requirement(text) for text in texts if text]
    return {normal_name(requirement.name): next(iter(requirement.specifier)).version for requirement in requirements}


def _check_lock(lock: str, where: str) -> None:
    """Check that each line pins one exact version, and that no package has two."""
    seen: dict[tuple[str, str], tuple[int, str]] = {}
    for number, line in enumerate(lock.splitlines(), 1):
        text = line.split("#")[0].strip()
        if not text:
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            requirement = None
        if requirement is None or [part.operator for part in requirement.specifier] != ["=="] or "*" in text:
            raise BuildError(f"{where}, line {number}: {text!r} is not NAME==VERSION, as every line of a lock must be")
        # A package may have one version per marker; uv checks that the markers exclude each other.
        first, earlier = seen.setdefault((normal_name(requirement.name), str(requirement.marker)), (number, text))
        if str(Requirement(earlier).specifier) != str(requirement.specifier):
            raise BuildError(
                f"{where}, line {number}: {text!r}, but line {first} has {earlier!r}; keep one version of a package"
            )


def _check_libraries(libraries: tuple[Wheel, ...], lock: str, where: str) -> None:
    """Check that the lock names the version of each library: the line by which an index brings it."""
    versions = locked(lock)
    for library in libraries:
        version = versions.get(normal_name(library.distribution))
        if version is None or Version(version) != Version(library.version):
            has = "no line of it" if version is None else f"{library.distribution}=={version}"
            raise BuildError(
                f"{where} has {has}, and the folder that [tool.uv.sources] names has {library.distribution} "
                f"{library.version}; expected the line {library.distribution}=={library.version}, which "
                "`pertharness env lock PATH` writes"
            )


def _read_settings(text: str, where: str) -> _Settings:
    try:
        data = toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise BuildError(f"{where}: {error}") from None
    try:
        return _Settings.model_validate(data)
    except ValidationError as error:
        raise BuildError(f"{where}: {describe_invalid(error)}; got {data!r}; expected {EXCUSE}") from None
