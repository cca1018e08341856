"""What a plugin says of its environment: its Python, its lock, and where metadata are wrong. It is not imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from pydantic import BaseModel, ConfigDict, ValidationError

from pertharness.contract.errors import BuildError
from pertharness.contract.jobs import describe_invalid
from pertharness.files.whole import canonical_json, sha256_text
from pertharness.host.environments.asked import NAME
from pertharness.host.environments.pythons import both
from pertharness.host.environments.wheels import Wheel, normal_name
from pertharness.host.recipe.position import toml

FORMAT = 1
LOCK = "requirements.lock"
CUDA_LOCK = "requirements-cuda.lock"
SETTINGS = "environment.toml"
EXCUSE = '[[excused]] with package = "cpa-tools", requirement = "black", reason = "a formatter; not imported"'


class Excuse(BaseModel):
    """A requirement of a package that its environment does not meet, on purpose."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    package: str
    requirement: str
    """Name of what is required, with or without its version."""
    reason: str


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    excused: tuple[Excuse, ...] = ()


@dataclass(frozen=True)
class Spec:
    """An environment as it is to be built.

    Attributes
    ----------
    name, module
        Of the plugin.
    python
        Version that the plugin requires, e.g. ``==3.10.*``, or the path of an interpreter.
    lock_name, lock
        Which lock, and its text.
    asked
        How the plugin was asked for.
    cpu_only
        Whether it was asked for without its lock for CUDA.
    hash
        sha256 over all that the environment is made of.
    """

    name: str
    module: str
    wheel: Wheel
    core: Wheel
    python: str
    lock_name: str
    lock: str
    excused: tuple[Excuse, ...]
    asked: str
    cpu_only: bool = False

    @property
    def hash(self) -> str:
        """Return the name of the content."""
        parts = [FORMAT, self.name, self.python, self.lock, self.wheel.content, self.core.content]
        return sha256_text(canonical_json(parts))

    @property
    def folder(self) -> str:
        """Return the name of the environment's folder."""
        return f"{self.name}-{self.hash[:12]}"


def make_spec(
    wheel: Wheel, core: Wheel, asked: str, *, python: Path | None = None, cuda: bool = False, cpu_only: bool = False
) -> Spec:
    """Return the environment that a plugin's wheel asks for.

    Parameters
    ----------
    wheel, core
        Of the plugin, and of the harness.
    python
        Interpreter in place of the one that the plugin's requires-python would find.
    cuda
        Take the lock for CUDA where the plugin has one.
    cpu_only
        Whether that was declined, to be kept for the next build.

    Raises
    ------
    BuildError
        If the wheel holds no plugin, or several, or no lock that says exactly what belongs into its environment, or is
        for a Python that the harness is not for.
    """
    if not wheel.plugins:
        raise BuildError(
            f"{asked}: {wheel.distribution} {wheel.version} offers no pertharness plugin (no entry point in the group "
            "'pertharness'); ask for a package that does, usually pertharness-NAME, or for the folder of a plugin; "
            "what a plugin needs belongs into its requirements.lock"
        )
    if len(wheel.plugins) > 1:
        found = ", ".join(wheel.plugins)
        raise BuildError(f"{asked}: {wheel.distribution} has to offer one plugin under 'pertharness'; it has {found}")
    ((name, module),) = wheel.plugins.items()
    if not NAME.fullmatch(name) or not all(part.isidentifier() for part in module.split(".")):
        raise BuildError(
            f"{asked}: its entry point {name!r} = {module!r} names no plugin; expected a name of letters, digits, '_' "
            "and '-', a letter first, and a module"
        )
    both(wheel.requires_python, core.requires_python, f"plugin {name!r} ({asked})")
    package = module.split(".")[0]
    texts = {lock: wheel.read(f"{package}/{lock}") for lock in ([CUDA_LOCK, LOCK] if cuda else [LOCK])}
    chosen = next((lock for lock, text in texts.items() if text is not None), None)
    if chosen is None:
        raise BuildError(
            f"plugin {name!r} ({asked}): there is no {package}/{LOCK} in its package, which says what belongs into its "
            "environment; its author makes one with: pertharness env lock PATH"
        )
    lock = texts[chosen] or ""
    _check_lock(lock, f"plugin {name!r}: {package}/{chosen}")
    said = _read_settings(wheel.read(f"{package}/{SETTINGS}") or "", f"plugin {name!r}: {package}/{SETTINGS}")
    wanted = str(python.absolute()) if python else wheel.requires_python or ">=3.10"
    return Spec(name, module, wheel, core, wanted, chosen, lock, said.excused, asked, cpu_only)


def locked(lock: str) -> dict[str, str]:
    """Return the versions that a lock names, by normalised name."""
    texts = [line.split("#")[0].strip() for line in lock.splitlines()]
    found = [Requirement(text) for text in texts if text]
    return {normal_name(one.name): next(iter(one.specifier)).version for one in found}


def _check_lock(lock: str, where: str) -> None:
    """Refuse lines that are not one exact version each, and a second version of a package."""
    seen: dict[tuple[str, str], tuple[int, str]] = {}
    for number, line in enumerate(lock.splitlines(), 1):
        text = line.split("#")[0].strip()
        if not text:
            continue
        try:
            one = Requirement(text)
        except InvalidRequirement:
            one = None
        if one is None or [part.operator for part in one.specifier] != ["=="] or "*" in text:
            raise BuildError(
                f"{where}, line {number}: {text!r} is not NAME==VERSION, which every line of a lock has to be"
            )
        # With markers there may be one version for each; whether they exclude each other is for uv to say.
        first, earlier = seen.setdefault((normal_name(one.name), str(one.marker)), (number, text))
        if str(Requirement(earlier).specifier) != str(one.specifier):
            raise BuildError(
                f"{where}, line {number}: {text!r}, but line {first} has {earlier!r}; keep one version of a package"
            )


def _read_settings(text: str, where: str) -> _Settings:
    try:
        found = toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise BuildError(f"{where}: {error}") from None
    try:
        return _Settings.model_validate(found)
    except ValidationError as error:
        raise BuildError(f"{where}: {describe_invalid(error)}; it says {found!r}; expected {EXCUSE}") from None
