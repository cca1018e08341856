"""Building an environment: beside its place, under a lock, and moved there when it is whole."""

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
from pertharness.contract.protocol import PROJECT
from pertharness.files.full_disk import is_disk_full
from pertharness.files.whole import write_text
from pertharness.host.environments.asked import NAME
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
from pertharness.host.environments.pythons import takes
from pertharness.host.environments.source import bring, resolve
from pertharness.host.environments.spec import Spec, locked, make_spec
from pertharness.host.environments.uv import DISK_FULL, Uv, find_uv, warnings_of
from pertharness.host.environments.wheels import core_wheel, normal_name, read_wheel, requirement_name
from pertharness.host.environments.whole import damaged_packages, describe_damage
from pertharness.host.execution.bytecode import compile_editable
from pertharness.host.execution.hardware import find_gpus
from pertharness.host.packages.fingerprint import worker_hash

Say = Callable[[str], None]
HALF = ".building-"
_COMPLAINT = re.compile(r"^The package `([^`]+)` requires `([^`]+)`, but (.+)$", re.MULTILINE)
_POLL_S = 0.2
RETRY = "--retry failed --retry crashed"


def build(
    asked: str, folder: Folder, *, python: Path | None = None, cpu_only: bool | None = None, again: bool = False,
    before: Environment | None = None, base: Path | None = None, say: Say = lambda _: None,
) -> Environment:  # fmt: skip
    """Build the environment of a plugin and put it to use; one that is there and whole is used as it is.

    Parameters
    ----------
    asked
        Name, folder, wheel, requirement or git address of the plugin.
    folder
        Where environments lie.
    python
        Interpreter in place of the one that the plugin's ``requires-python`` finds; by default that of `before`.
    cpu_only
        Take the usual lock also where there is a GPU and the plugin has one for CUDA; by default as `before`.
    again
        Build it also where it is there.
    before
        The plugin's last environment, which counts if it came from the same place; of a name what it stands for.
    base
        Where relative paths start; the current folder by default.
    say
        Told of each step, a line at a time.

    Raises
    ------
    BuildError
        With the package, or the Python, that stood in the way, and what to do. What was there before stays.
    """
    uv = replace(find_uv(), root=folder.root)
    try:
        folder.root.mkdir(parents=True, exist_ok=True)
        meant = resolve(asked, folder, base or Path.cwd())
        known = before or (folder.last(asked) if NAME.fullmatch(asked) else None)
        if known and known.asked == meant:
            python = python or _python_before(known)
            cpu_only = known.cpu_only if cpu_only is None else cpu_only
        with tempfile.TemporaryDirectory(prefix="pertharness-env-") as scratch:
            say(f"{asked}: reading {meant}")
            wheel = bring(meant, uv, Path(scratch))
            core = read_wheel(core_wheel(Path(scratch) / "core"))
            cuda = not cpu_only and bool(find_gpus())
            spec = make_spec(wheel, core, meant, python=python, cuda=cuda, cpu_only=bool(cpu_only))
            return _build_spec(spec, folder, uv, again=again, say=say)
    except OSError as error:
        if is_disk_full(error):
            raise BuildError(f"{asked}: {uv.disk_full()}") from None
        where = f"{str(error.filename or folder.root)!r}: {error.strerror or error}"
        raise BuildError(f"{asked}: {where}; name another folder in PERTHARNESS_ENVS") from None


def _python_before(known: Environment) -> Path | None:
    """Return the interpreter that an environment was asked for with, None if it was not asked for with any."""
    python = Path(known.wanted_python)
    if not python.is_absolute():
        return None
    if not python.is_file():
        raise BuildError(
            f"plugin {known.name!r} was built with --python {str(python)!r}, which is gone; name another: "
            f"pertharness env build {known.name} --python PATH, or take the usual one: "
            f"pertharness env remove {known.name}, then pertharness env build {known.asked}"
        )
    return python


def _build_spec(spec: Spec, folder: Folder, uv: Uv, *, again: bool, say: Say) -> Environment:
    """Build a spec, or take what is there, while no other process builds the same."""
    with _locked(folder, spec, say):
        _sweep(folder, spec.folder)
        marker = folder.root / spec.folder / MARKER
        known = [*folder.built(), *filter(None, [folder.current(spec.name)])]
        there = next((one for one in known if one.folder == spec.folder), None)
        state, why = fitness(folder, there) if there else ("broken", "its last build did not come to its end")
        if there and state == "ok" and not again:
            say(f"{spec.name}: unchanged, {marker.parent}")
            environment = there.model_copy(update={"asked": spec.asked, "cpu_only": spec.cpu_only})
        else:
            before = bool(there) or marker.parent.exists()
            if before and state != "ok":
                say(f"{spec.name}: built again, because {why}")
            environment = _make(spec, folder, uv, say)
            if before and state == "broken":
                say(f"{spec.name}: what failed in it stays on record; run with {RETRY} to do it again")
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


def _sweep(folder: Folder, mine: str) -> None:
    """Remove what builds that were killed have left: their locks are free, or held by this very build of `mine`."""
    for path in folder.root.glob(f"{HALF}*"):
        name = path.name.removeprefix(HALF).rpartition("-")[0]
        lock = None if name == mine else folder.lock(name)
        if name == mine or lock is not None:
            shutil.rmtree(path, ignore_errors=True)
        if lock is not None:
            lock.release()
    for path in folder.root.glob(".removed-*"):
        shutil.rmtree(path, ignore_errors=True)


def _make(spec: Spec, folder: Folder, uv: Uv, say: Say) -> Environment:
    """Build in a folder of its own and move it to its place; whatever happens, nothing half is left there."""
    half = folder.root / f"{HALF}{spec.folder}-{os.getpid()}"
    started = time.monotonic()
    try:
        interpreter, version = _make_venv(spec, half, uv)
        say(f"{spec.name}: Python {version}; installing {len(locked(spec.lock))} packages of its {spec.lock_name}")
        notes = [*_install(spec, half, uv), *_mend(spec, half, uv)]
        misstated = [path for paths in damaged_packages(site_packages(half)).values() for path in paths]
        excused = _check(spec, half, uv)
        compile_editable(half / "bin" / "python", force=True)  # what a wheel brings compiled may be of other sources
        environment = Environment(
            name=spec.name, module=spec.module, distribution=spec.wheel.distribution, version=spec.wheel.version,
            folder=spec.folder, hash=spec.hash, source=source_in(half, spec.module, spec.wheel.distribution),
            worker=worker_hash(), asked=spec.asked, lock=spec.lock_name, python=version, interpreter=interpreter,
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
    """Make an empty environment that stays whole when it is moved; give its base interpreter and its version."""
    named = Path(spec.python).is_absolute()
    wanted = spec.python if named else ",".join(text for text in (spec.python, spec.core.requires_python) if text)
    done = uv.attempt("venv", "--relocatable", "--no-project", "--python", wanted, half, cwd=half.parent)
    if done.returncode:
        raise BuildError(_no_python(spec, uv.explain(done.stderr), named=named))
    text = (half / "pyvenv.cfg").read_text(encoding="utf-8")
    found = dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line)
    version = found.get("version_info", found.get("version", ""))
    for who, wheel in ((f"plugin {spec.name!r}", spec.wheel), ("pertharness", spec.core)):
        if not takes(wheel.requires_python, version):
            raise BuildError(
                f"{who} requires Python {wheel.requires_python}, {spec.python} is {version}; "
                "leave out --python, or name an interpreter that fits"
            )
    return str((half / "bin" / "python").resolve()), version


def _no_python(spec: Spec, said: str, *, named: bool) -> str:
    if said.startswith(DISK_FULL):
        return f"plugin {spec.name!r}: {said}"
    if named:
        return f"plugin {spec.name!r}: --python {spec.python!r} is no Python interpreter that can be run ({said})"
    how = "install it (pyenv install, uv python install), or name it with --python PATH"
    return (
        f"plugin {spec.name!r} needs Python {spec.python}, which is not here and could not be brought; {how} ({said})"
    )


def _install(spec: Spec, half: Path, uv: Uv, *options: str) -> list[str]:
    """Install harness, plugin and lock, and give uv's warnings."""
    requirements = half / spec.lock_name
    requirements.write_text(spec.lock, encoding="utf-8")
    # Compiled here, by each call what it installs: a sandboxed job cannot, and would compile what it imports each time.
    where = ("--python", half / "bin" / "python")
    target: tuple[str | Path, ...] = ("pip", "install", *where, "--no-deps", "--compile-bytecode", *options)
    own = [spec.core.path, spec.wheel.path]
    printed = uv(*target, "--offline", *own, cwd=half, what=f"plugin {spec.name!r}: installing itself and pertharness")
    printed += uv(*target, "-r", requirements, cwd=half, what=f"plugin {spec.name!r}: its {spec.lock_name}")
    wanted = {PROJECT: spec.core.version, normal_name(spec.wheel.distribution): spec.wheel.version}
    there = packages_in(half)
    for name, version in wanted.items():
        if there.get(name) != version:
            raise BuildError(f"plugin {spec.name!r}: its {spec.lock_name} names {name} itself; remove that line")
    return warnings_of(printed)


def _mend(spec: Spec, half: Path, uv: Uv) -> list[str]:
    """Install again what came damaged out of uv's cache, and say so: what was done to a linked file was done to it."""
    damaged = damaged_packages(site_packages(half))
    if not damaged:
        return []
    names = sorted(damaged)
    uv("cache", "clean", *names, cwd=half, what=f"plugin {spec.name!r}: {describe_damage(damaged)}, in uv's cache too")
    _install(spec, half, uv, *(word for name in names for word in ("--reinstall-package", name)))
    if damaged := damaged_packages(site_packages(half)):
        return [f"{describe_damage(damaged)} whenever it is installed; taken as it is"]
    return [f"uv's cache held damaged files of {', '.join(names)}; they were fetched again"]


def _check(spec: Spec, half: Path, uv: Uv) -> list[str]:
    """Check that all requirements are met but for those that the plugin excuses; give those as notes."""
    done = uv.attempt("pip", "check", "--python", half / "bin" / "python", cwd=half)
    excuses = {(normal_name(one.package), requirement_name(one.requirement)): one for one in spec.excused}
    complaints = _COMPLAINT.findall(done.stderr + done.stdout)
    notes, bad = [], []
    for package, requirement, but in complaints:
        excuse = excuses.get((normal_name(package), requirement_name(requirement)))
        said = f"{package} requires {requirement}, but {but.replace('`', '')}"
        if excuse:
            notes.append(f"{said}; excused: {excuse.reason}")
        else:
            bad.append(said)
    if done.returncode and not complaints:
        bad.append((done.stderr + done.stdout).strip()[-600:])
    if bad:
        more = f" (and {len(bad) - 3} more)" if len(bad) > 3 else ""
        raise BuildError(
            f"plugin {spec.name!r}: its {spec.lock_name} does not fit together: {'; '.join(bad[:3])}{more}; "
            "mend the lock (pertharness env lock), or excuse it in environment.toml with the reason"
        )
    return notes
