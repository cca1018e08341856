"""Files and folders that a job's processes may access: its interpreter, system libraries, inputs and own folders."""

from __future__ import annotations

import ast
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pertharness.contract.jobs import HOME, OUT, SCRATCH
from pertharness.host.execution.batch import Launch, Mechanism
from pertharness.worker import seccomp
from pertharness.worker.landlock import Grants, abi_version
from pertharness.worker.proc import OWN_PROC, PROC, THREADS

SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/etc", "/sys", "/nix/store", "/gnu/store")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
GPU = ("/dev/dri", "/dev/kfd")
"""GPU devices of other makers; those of NVIDIA are found by their names."""
SHARED_MEMORY = "/dev/shm"
_QUOTED = re.compile(r"""["'](/[^"']+)["']""")
LIBRARY_VARIABLES = ("LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH")


def find_mechanism(requested: str) -> Mechanism | None:
    """Return the mechanism that isolates jobs: the `requested` one, or the best for ``auto``; None if not available."""
    if requested == "none":
        return "none"
    if requested in ("auto", "landlock") and abi_version() > 0:
        return "landlock"
    if requested in ("auto", "bwrap") and has_bwrap():
        return "bwrap"
    return "none" if requested == "auto" else None


@functools.cache
def has_bwrap() -> bool:
    """Return whether bubblewrap is installed and may make namespaces here."""
    program = shutil.which("bwrap")
    if program is None:
        return False
    trial = [program, "--ro-bind", "/", "/", "--unshare-net", "--unshare-pid", "--unshare-ipc", "--", "true"]
    try:
        return subprocess.run(trial, capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def describe_machine() -> str:
    """Return one line on how this machine can isolate jobs."""
    abi = abi_version()
    landlock = f"Landlock (ABI {abi})" if abi else "no Landlock (needs Linux 5.13 with it switched on)"
    filtered = "with a seccomp filter" if abi and seccomp.is_supported() else "without a seccomp filter"
    bwrap = "bubblewrap" if has_bwrap() else "no bubblewrap"
    return f"{landlock}{', ' + filtered if abi else ''}; {bwrap}; --isolation auto takes {find_mechanism('auto')!r}"


def job_grants(launch: Launch, base: Grants, *, cuda: bool, shared_memory: bool) -> Grants:
    """Return what a job's process may access, in addition to what its interpreter needs.

    Parameters
    ----------
    launch
        What a job reads is granted file by file, but to those that may read everything.
    base
        See `interpreter_grants`.
    cuda
        Whether it may use GPUs: their devices, and what CUDA reads and writes under ``/proc/self``.
    shared_memory
        Whether ``/dev/shm`` is its own, or that of jobs which are confined as it is.
    """
    folder = launch.folder
    written = [folder / name for name in (OUT, SCRATCH, HOME)] + ([launch.temporary] if launch.temporary else [])
    own = Grants(read=(str(folder), *OWN_PROC), listing=(THREADS,), write=tuple(map(str, written)), devices=DEVICES)
    if not launch.reads_everything:
        grants = base + own + Grants(read=tuple(str(file.path.resolve()) for file in launch.inputs))
    else:
        grants = replace(own, read=("/",), listing=())
    if shared_memory:
        grants += Grants(write=(SHARED_MEMORY,))
    return grants + gpu_grants() if cuda else grants


def gpu_grants() -> Grants:
    """Return what CUDA needs (tried with driver 580): it names its threads through files below ``/proc/self``.

    A rule on ``/proc/self`` is for the process that makes it. Children can read less there, and use no GPU.
    """
    nvidia = tuple(sorted(str(path) for path in Path("/dev").glob("nvidia*")))
    return Grants(devices=(*GPU, *nvidia, "/proc/self"))


def base_grants(python: Path) -> Grants:
    """Return what every sandboxed process of an interpreter may access."""
    return _interpreter(python, os.environ.get("PATH", "")) + Grants(
        read=(*SYSTEM, *PROC, *_named_by_variables()), devices=DEVICES
    )


def _named_by_variables() -> Iterator[str]:
    for name in LIBRARY_VARIABLES:
        for part in os.environ.get(name, "").split(os.pathsep):
            if part.startswith("/") and part != "/":
                yield str(Path(part).resolve())


@functools.lru_cache(maxsize=16)
def _interpreter(python: Path, _: str) -> Grants:
    """Return the folders of an interpreter, its environment and its editable packages, found without running it."""
    read, listing = [str(prefix) for prefix in _prefixes(python)], []
    for package, parent in _all_editable(python):
        read.append(str(package))
        listing.append(str(parent))
    return Grants(read=tuple(dict.fromkeys(read)), listing=tuple(dict.fromkeys(listing)))


def editable_packages(python: Path) -> list[Path]:
    """Return the packages of an interpreter that are outside its environment."""
    return list(dict.fromkeys(package for package, _ in _all_editable(python)))


def _all_editable(python: Path) -> Iterator[tuple[Path, Path]]:
    for prefix in dict.fromkeys(_prefixes(python)):
        for site in [*prefix.glob("lib/python*/site-packages"), *prefix.glob("lib64/python*/site-packages")]:
            yield from _editable(site)


def _prefixes(python: Path) -> Iterator[Path]:
    """Yield ``sys.prefix`` and ``sys.base_prefix`` of an interpreter, with their real paths."""
    prefix = python.absolute().parent.parent
    settings = prefix / "pyvenv.cfg"
    folders = [prefix, python.resolve().parent.parent]
    if settings.is_file():
        match = re.search(r"^home\s*=\s*(.+?)\s*$", settings.read_text(encoding="utf-8"), re.MULTILINE)
        if match:
            folders += [Path(match[1]).parent, (Path(match[1]) / "python3").resolve().parent.parent]
    for folder in folders:
        for path in (folder, folder.resolve()):
            if path != Path("/"):
                yield path


def _editable(site: Path, seen: frozenset[Path] = frozenset()) -> Iterator[tuple[Path, Path]]:
    """Yield the packages outside a folder of packages that it refers to, each with the folder that contains it.

    A reference is a line of a ``.pth`` file that is a path, a line of code with a path in quotes
    (``site.addsitedir("...")``), or a table of an import hook of setuptools. A folder of packages is taken whole. Of
    other folders, only importable files are taken, so that data next to a package, or other files that a plugin's files
    name, stay closed.
    """
    for settings in sorted(site.glob("*.pth")):
        for line in settings.read_text(encoding="utf-8", errors="replace").splitlines():
            is_code = line.startswith(("import ", "import\t"))
            for named in _QUOTED.findall(line) if is_code else [line.strip()]:
                if not os.path.isabs(named) or not os.path.isdir(named):  # noqa: PTH112, PTH117 - it may be no path at all
                    continue
                if (folder := Path(named).resolve()) not in seen:
                    yield from _packages_in(folder, seen | {folder})
    for hook in sorted(site.glob("__editable___*_finder.py")):
        for path in _mapped(hook.read_text(encoding="utf-8", errors="replace")):
            for package in (Path(path), Path(f"{path}.py")):  # the table has the name of a module without its suffix
                if _can_be_imported(package):
                    yield package.resolve(), package.resolve().parent


def _mapped(source: str) -> list[str]:
    """Return the paths in the table of an import hook; empty if the table is not valid."""
    match = re.search(r"^MAPPING[^=]*=\s*(\{.*\})\s*$", source, re.MULTILINE)
    try:
        table = ast.literal_eval(match[1]) if match else {}
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    return [path for path in table.values() if isinstance(path, str)] if isinstance(table, dict) else []


def _packages_in(folder: Path, seen: frozenset[Path]) -> Iterator[tuple[Path, Path]]:
    if next(folder.glob("*.dist-info"), None):
        yield folder, folder
        yield from _editable(folder, seen)
        return
    for path in sorted(folder.iterdir()):
        if _can_be_imported(path):
            yield path, folder


def _can_be_imported(path: Path) -> bool:
    try:
        return (path / "__init__.py").is_file() or (path.suffix in (".py", ".so") and path.is_file())
    except (OSError, ValueError):  # values of a table, which need not be paths
        return False


def find_partial(grants: Grants, guarded: Iterable[Path], own: Sequence[str]) -> list[str]:
    """Return which guarded files and folders are inside folders that the job may read, each with that folder.

    Parameters
    ----------
    own
        What the job is meant to read.
    """
    folders = {path: os.path.realpath(path) for path in grants.read + grants.write if path not in own}
    partial = []
    for path in dict.fromkeys(os.path.realpath(path) for path in guarded):
        for folder, real in folders.items():
            if path == real or path.startswith(real.rstrip("/") + "/"):
                partial.append(f"{path} lies beneath {folder}, which the job may read")
                break
    return partial
