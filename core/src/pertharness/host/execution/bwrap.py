"""The command line of bubblewrap: the rules of Landlock, in namespaces of the process."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pertharness.worker import seccomp
from pertharness.worker.landlock import Grants


def bwrap_command(command: list[str], grants: Grants) -> tuple[list[str], tuple[int, ...]]:
    """Return the command that runs another command in bubblewrap, and the descriptors that it must inherit.

    Network, processes and shared memory are in new namespaces. Files are bound read-only, except those that may be
    written.
    """
    program = shutil.which("bwrap") or "bwrap"
    wrapped = [program, "--die-with-parent", "--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    reads = "/" in grants.read
    wrapped += ["--ro-bind", "/", "/"] if reads else []
    wrapped += ["--dev", "/dev", "--proc", "/proc"]
    for path in sorted(_existing(grants.read), key=len) if not reads else ():
        wrapped += ["--ro-bind", path, path]
    for path in _existing(grants.devices):
        if not path.startswith("/proc/") and path.startswith("/dev/nvidia"):
            wrapped += ["--dev-bind", path, path]
    for path in _existing(grants.write):
        if Path(path).is_symlink():  # a short name of a folder that is bound itself, or of all of /
            wrapped += [] if reads else ["--symlink", str(Path(path).readlink()), path]
        elif path != "/dev/shm":
            wrapped += ["--bind", path, path]
    descriptors: tuple[int, ...] = ()
    if seccomp.is_supported():
        descriptors = (_filter_file(),)
        wrapped += ["--seccomp", str(descriptors[0])]
    return [*wrapped, "--", *command], descriptors


def _existing(paths: tuple[str, ...]) -> list[str]:
    """Return the existing paths that bubblewrap does not make itself."""
    made = ("/proc/", "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
    return [path for path in paths if not path.startswith(made) and path != "/" and Path(path).exists()]


def _filter_file() -> int:
    """Return a descriptor to read the filter from."""
    read_end, write_end = os.pipe()
    os.write(write_end, seccomp.build_filter())
    os.close(write_end)
    return read_end
