"""Build an environment in a temporary folder, under a lock, and move it into place when it is complete."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from pertharness.contract.errors import BuildError
from pertharness.files.full_disk import is_disk_full
from pertharness.files.whole import write_text
from pertharness.host.environments.folder import (
    MARKER,
    Environment,
    Folder,
    discard,
    fitness,
    packages_in,
    site_packages,
    source_in,
)
from pertharness.host.environments.libraries import fetch_libraries
from pertharness.host.environments.pythons import takes
from pertharness.host.environments.request_checks import NAME
from pertharness.host.environments.source import fetch_wheel, resolve
from pertharness.host.environments.spec import Spec, locked, make_spec
from pertharness.host.environments.uv import DISK_FULL, Uv, find_uv, warnings_of
from pertharness.host.environments.wheels import core_wheel, normal_name, read_wheel, requirement_name
from pertharness.host.environments.whole import damaged_packages, describe_damage
from pertharness.host.execution.bytecode import compile_editable
from pertharness.host.execution.executor import Executor
from pertharness.host.execution.local import local_executor
from pertharness.host.packages.fingerprint import worker_hash

Say = Callable[[str], None]
HALF = ".building-"
_COMPLAINT = re.compile(r"^The package `([^`]+)` requires `([^`]+)`, but (.+)$", re.MULTILINE)
_POLL_S = 0.2
RETRY = "--retry failed --retry crashed"


def build(
    requested: str, folder: Folder, *, python: Path | None = None, cpu_only: bool | None = None, again: bool = False,
    before: Environment | None = None, base: Path | None = None, say: Say = lambda _: None,
    executor: Executor | None = None,
) -> Environment:  # fmt: skip
    """Build the environment of a plugin and use it; reuse a complete one.

    Parameters
    ----------
    requested
        Name, folder, wheel, requirement or git address of the plugin.
    folder
        Folder of environments.
    python
        Interpreter to use instead of the one found by the plugin's ``requires-python``; by default that of `before`.
    cpu_only
        Use the usual lock even if there is a GPU and the plugin has a lock for CUDA; by default as `before`.
    again
        Build even if a complete environment exists.
    before
        The plugin's previous environment; its settings apply if it has the same source. For a name, it is looked up.
    base
        Where relative paths start; the current folder by default.
    say
        Called with one line for each step.
    executor
        What the plugin's jobs will run on, asked whether it has a GPU; by default this machine.

    Raises
    ------
    BuildError
        If the environment cannot be built; names the package or the Python at fault, and what to do. An earlier
        environment stays in use.
    """
    uv = replace(find_uv(), root=folder.root)
    try:
        folder.root.mkdir(parents=True, exist_ok=True)
        resolved = resolve(requested, folder, base or Path.cwd())
        previous = before or (folder.last(requested) if NAME.fullmatch(requested) else None)
        if previous and previous.asked == resolved:
            python = python or _python_before(previous)
            cpu_only = previous.cpu_only if cpu_only is None else cpu_only
        with tempfile.TemporaryDirectory(prefix="pertharness-env-") as scratch:
            say(f"{requested}: reading {resolved}")
            wheel = fetch_wheel(resolved, uv, Path(scratch))
            is_folder = Path(resolved).is_absolute() and Path(resolved).is_dir()
            libraries = fetch_libraries(Path(resolved), uv, Path(scratch)) if is_folder else ()
            core = read_wheel(core_wheel(Path(scratch) / "core"))
            cuda = not cpu_only and bool((executor or local_executor(folder.root)).machine.gpus)
            spec = make_spec(
                wheel, core, resolved, python=python, cuda=cuda, cpu_only=bool(cpu_only), libraries=libraries
            )
            return _build_spec(spec, folder, uv, again=again, say=say)
    except OSError as error:
        if is_disk_full(error):
            raise BuildError(f"{requested}: {uv.disk_full()}") from None
        where = f"{str(error.filename or folder.root)!r}: {error.strerror or error}"
        raise BuildError(f"{requested}: {where}; name another folder in PERTHARNESS_ENVS") from None


def _python_before(previous: Environment) -> Path | None:
    """Return the interpreter that was requested for an environment; None if none was."""
    python = Path(previous.wanted_python)
    if not python.is_absolute():
        return None
    if not python.is_file():
        raise BuildError(
            f"plugin {previous.name!r} was built with --python {str(python)!r}, which no longer exists; name another: "
            f"pertharness env build {previous.name} --python PATH, or use the default one: "
            f"pertharness env remove {previous.name}, then pertharness env build {previous.asked}"
        )
    return python


def _build_spec(spec: Spec, folder: Folder, uv: Uv, *, again: bool, say: Say) -> Environment:
    """Build a spec, or reuse its environment, while no other process builds the same."""
    with _locked(folder, spec, say):
        _sweep(folder, spec.folder)
        marker = folder.root / spec.folder / MARKER
        candidates = [*folder.built(), *filter(None, [folder.current(spec.name)])]
        existing = next((candidate for candidate in candidates if candidate.folder == spec.folder), None)
        state, reason = fitness(folder, existing) if existing else ("broken", "its last build did not finish")
        if existing and state == "ok" and not again:
            say(f"{spec.name}: unchanged, {marker.parent}")
            environment = existing.model_copy(update={"asked": spec.requested, "cpu_only": spec.cpu_only})
        else:
            before = bool(existing) or marker.parent.exists()
            if before and state != "ok":
                say(f"{spec.name}: built again, because {reason}")
            environment = _make(spec, folder, uv, say)
            if before and state == "broken":
                say(f"{spec.name}: earlier failures are still recorded; run with {RETRY} to repeat those jobs")
        folder.use(environment)
        return environment


@contextmanager
def _locked(folder: Folder, spec: Spec, say: Say) -> Iterator[None]:
    """Hold the lock on an environment's folder; wait while another process builds it."""
    lock = folder.lock(spec.folder)
    if lock is None:
        say(f"{spec.name}: another process builds it; waiting")
    while lock is None:
        time.sleep(_POLL_S)
        lock = folder.lock(spec.folder)
    try:
        yield
    finally:
        lock.release()


def _sweep(folder: Folder, own_name: str) -> None:
    """Remove leftovers of killed builds: those with a free lock, and those of `own_name`, whose lock is held here."""
    for path in folder.root.glob(f"{HALF}*"):
        name = path.name.removeprefix(HALF).rpartition("-")[0]
        lock = None if name == own_name else folder.lock(name)
        if name == own_name or lock is not None:
            shutil.rmtree(path, ignore_errors=True)
        if lock is not None:
            lock.release()
    for path in folder.root.glob(".removed-*"):
        shutil.rmtree(path, ignore_errors=True)


def _make(spec: Spec, folder: Folder, uv: Uv, say: Say) -> Environment:
    """Build in a temporary folder and move it into place; leave nothing incomplete there."""
    half = folder.root / f"{HALF}{spec.folder}-{os.getpid()}"
    started = time.monotonic()
    try:
        interpreter, version = _make_venv(spec, half, uv)
        say(
            f"{spec.name}: Python {version}; installing {len(locked(spec.from_index))} packages of its {spec.lock_name}"
        )
        notes = [*_install(spec, half, uv), *_mend(spec, half, uv)]
        misstated = [path for paths in damaged_packages(site_packages(half)).values() for path in paths]
        excused = _check(spec, half, uv)
        compile_editable(half / "bin" / "python", force=True)  # bytecode of a wheel may not match its sources
        libraries = tuple(normal_name(library.distribution) for library in spec.libraries)
        environment = Environment(
            name=spec.name, module=spec.module, distribution=spec.wheel.distribution, version=spec.wheel.version,
            libraries=libraries, folder=spec.folder, hash=spec.hash,
            source=source_in(half, spec.module, spec.wheel.distribution, libraries),
            worker=worker_hash(), asked=spec.requested, lock=spec.lock_name, python=version, interpreter=interpreter,
            wanted_python=spec.python, cpu_only=spec.cpu_only, misstated=tuple(misstated), packages=packages_in(half),
            notes=[*notes, *excused],
            built=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - started, 1),
        )  # fmt: skip
        write_text(half / MARKER, environment.model_dump_json(indent=1))
        discard(folder.root / spec.folder)
        half.rename(folder.root / spec.folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    for note in [*notes, *([f"{len(excused)} unmet requirements are excused by the plugin"] if excused else [])]:
        say(f"{spec.name}: note: {note}")
    say(f"{spec.name}: built in {environment.seconds:g} s, {folder.root / spec.folder}")
    return environment


def _make_venv(spec: Spec, half: Path, uv: Uv) -> tuple[str, str]:
    """Make an empty, relocatable environment; return its base interpreter and its version."""
    named = Path(spec.python).is_absolute()
    python_request = (
        spec.python if named else ",".join(text for text in (spec.python, spec.core.requires_python) if text)
    )
    done = uv.attempt("venv", "--relocatable", "--no-project", "--python", python_request, half, cwd=half.parent)
    if done.returncode:
        raise BuildError(_no_python(spec, uv.explain(done.stderr), named=named))
    text = (half / "pyvenv.cfg").read_text(encoding="utf-8")
    config = dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line)
    version = config.get("version_info", config.get("version", ""))
    for owner, wheel in ((f"plugin {spec.name!r}", spec.wheel), ("pertharness", spec.core)):
        if not takes(wheel.requires_python, version):
            raise BuildError(
                f"{owner} requires Python {wheel.requires_python}, {spec.python} is {version}; "
                "omit --python, or name an interpreter that meets this"
            )
    return str((half / "bin" / "python").resolve()), version


def _no_python(spec: Spec, complaint: str, *, named: bool) -> str:
    if complaint.startswith(DISK_FULL):
        return f"plugin {spec.name!r}: {complaint}"
    if named:
        return (
            f"plugin {spec.name!r}: --python {spec.python!r} is not a Python interpreter that can be run ({complaint})"
        )
    advice = "install it (pyenv install, uv python install), or name it with --python PATH"
    return (
        f"plugin {spec.name!r} needs Python {spec.python}, which is not installed and could not be downloaded; "
        f"{advice} ({complaint})"
    )


def _install(spec: Spec, half: Path, uv: Uv, *options: str) -> list[str]:
    """Install harness, plugin, its libraries in folders and its lock, and return uv's warnings."""
    requirements = half / spec.lock_name
    requirements.write_text(spec.from_index, encoding="utf-8")
    # Compile what each call installs: a sandboxed job cannot write bytecode, and would compile its imports each time.
    interpreter = ("--python", half / "bin" / "python")
    target: tuple[str | Path, ...] = ("pip", "install", *interpreter, "--no-deps", "--compile-bytecode", *options)
    wheels = (spec.core, spec.wheel, *spec.libraries)
    own = [wheel.path for wheel in wheels]
    printed = uv(*target, "--offline", *own, cwd=half, task=f"plugin {spec.name!r}: installing itself and pertharness")
    printed += uv(*target, "-r", requirements, cwd=half, task=f"plugin {spec.name!r}: its {spec.lock_name}")
    packages = packages_in(half)
    for wheel in wheels:
        if packages.get(name := normal_name(wheel.distribution)) != wheel.version:
            raise BuildError(f"plugin {spec.name!r}: its {spec.lock_name} names {name} itself; remove that line")
    return warnings_of(printed)


def _mend(spec: Spec, half: Path, uv: Uv) -> list[str]:
    """Reinstall packages that came damaged from uv's cache, to which their files are linked, and return notes."""
    damaged = damaged_packages(site_packages(half))
    if not damaged:
        return []
    names = sorted(damaged)
    uv("cache", "clean", *names, cwd=half, task=f"plugin {spec.name!r}: {describe_damage(damaged)}, in uv's cache too")
    _install(spec, half, uv, *(word for name in names for word in ("--reinstall-package", name)))
    if damaged := damaged_packages(site_packages(half)):
        return [f"{describe_damage(damaged)} after every installation; used as it is"]
    return [f"uv's cache had damaged files of {', '.join(names)}; they were fetched again"]


def _check(spec: Spec, half: Path, uv: Uv) -> list[str]:
    """Check that all requirements are met except those that the plugin excuses; return these as notes."""
    done = uv.attempt("pip", "check", "--python", half / "bin" / "python", cwd=half)
    excuses = {(normal_name(entry.package), requirement_name(entry.requirement)): entry for entry in spec.excused}
    complaints = _COMPLAINT.findall(done.stderr + done.stdout)
    notes, bad = [], []
    for package, requirement, actual in complaints:
        excuse = excuses.get((normal_name(package), requirement_name(requirement)))
        unmet = f"{package} requires {requirement}, but {actual.replace('`', '')}"
        if excuse:
            notes.append(f"{unmet}; excused: {excuse.reason}")
        else:
            bad.append(unmet)
    if done.returncode and not complaints:
        bad.append((done.stderr + done.stdout).strip()[-600:])
    if bad:
        more = f" (and {len(bad) - 3} more)" if len(bad) > 3 else ""
        raise BuildError(
            f"plugin {spec.name!r}: its {spec.lock_name} has conflicting requirements: {'; '.join(bad[:3])}{more}; "
            "update the lock (pertharness env lock), or excuse them in environment.toml with the reason"
        )
    return notes
