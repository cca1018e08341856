"""Call uv, and explain its errors to the user who builds an environment."""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pertharness.contract.errors import BuildError
from pertharness.files.full_disk import mentions_full_disk
from pertharness.host.environments.settings import UvSettings, settings_for_uv

DISK_FULL = "the disk is full, or ulimit -f is too small; nothing was left incomplete: free some disk space and rerun"
NO_ROOM = 1_000_000
"""Bytes: a disk with less free space counts as full."""
HINTS = {
    r"not found in the package registry|not found in the provided package locations|no version of":
        "check name and version, and pip's or uv's index and find-links settings",
    r"does not satisfy Python": "its lock is for another Python: see requires-python of the plugin, or --python PATH",
    r"dns error|client error \(Connect\)|Network connectivity is disabled|error sending request":
        "the index is not reachable: build with network access, or name a folder of wheels in UV_FIND_LINKS",
    r"has no wheels|no wheels with a matching": "no built package for this machine or this Python",
    r"Git operation failed|Git executable not found": "check the address and the name of branch or tag",
}  # fmt: skip
_MARK = re.compile(r"^(?:error:|cause:|Caused by:|[×├╰─▶►▸│ ]+)\s*", re.IGNORECASE)  # noqa: RUF001 - as uv prints it
_NOISE = re.compile(
    r"^(?:Using |Resolved |Prepared |Installed |Creating |Checked |Building |warning:|hint:|DEBUG |\+ "
    r"|\[stdout\]|\[stderr\]|The above exception was|During handling of the above)"
)
_FRAMES = re.compile(r"^( *)Traceback \(most recent call last\):\n(?:\1 +.*\n|[ \t]*\n)*", re.MULTILINE)
"""A traceback without its last line, which names the cause."""
_HEAD, _TAIL = 200, 400
"""Characters kept from the start of a long error, which names the step, and from its end, the cause."""
_WARNING = re.compile(r"^warning: (.*)", re.MULTILINE)


@dataclass(frozen=True)
class Uv:
    """uv with its settings for one build.

    Attributes
    ----------
    program
        Path of uv.
    settings
        Environment variables and options for uv.
    root
        Folder of environments in which it builds.
    """

    program: Path
    settings: UvSettings
    root: Path | None = None

    def __call__(self, *arguments: str | Path, cwd: Path, task: str) -> str:
        """Call uv, and return its output, warnings first.

        Raises
        ------
        BuildError
            If uv fails; the message begins with `task` and has uv's error.
        """
        done = self.attempt(*arguments, cwd=cwd)
        if done.returncode:
            raise BuildError(f"{task}: {self.explain(done.stderr)}")
        return done.stderr + done.stdout

    def attempt(self, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Call uv, and return the finished process, also after a failure."""
        brings = arguments[0] == "build" or arguments[:2] in (("pip", "install"), ("pip", "compile"))
        command = [str(self.program), *map(str, arguments), *(self.settings.options if brings else ())]
        done = subprocess.run(
            command, cwd=cwd, env=dict(self.settings.variables), stdin=subprocess.DEVNULL, capture_output=True,
            text=True,
        )  # fmt: skip
        if done.returncode == -signal.SIGXFSZ:  # ended without a message
            done.stderr += f"\n{os.strerror(errno.EFBIG)}: the limit of ulimit -f"
        return done

    def explain(self, stderr: str) -> str:
        """Return uv's error on one line; for a full disk, name its folder."""
        complaint = explain(stderr)
        return self.disk_full() if complaint == DISK_FULL else complaint

    def disk_full(self) -> str:
        """Return the message for a full disk, with its folder; if none is full now, with all that uv writes to."""
        cache = self.attempt("cache", "dir", cwd=Path(tempfile.gettempdir())).stdout.strip()
        written = {"the environments'": self.root, "uv's cache": cache or None, "TMPDIR": tempfile.gettempdir()}
        folders = {name: Path(path) for name, path in written.items() if path is not None}
        full = {
            name: path for name, path in folders.items() if path.exists() and shutil.disk_usage(path).free < NO_ROOM
        }
        named = ", ".join(f"{name} {str(path)!r}" for name, path in (full or folders).items())
        return f"{DISK_FULL} ({'no room in' if full else 'one of'}: {named})"


def find_uv(environ: Mapping[str, str] = os.environ) -> Uv:
    """Return uv: the one installed with the harness, else the one on the path.

    Raises
    ------
    BuildError
        If uv is not installed.
    """
    spec = importlib.util.find_spec("uv")
    beside = Path(sys.executable).parent
    packaged = [
        Path(location).parents[3] / "bin" for location in (spec.submodule_search_locations or [] if spec else [])
    ]
    for folder in (beside, *packaged):
        if (folder / "uv").is_file():
            return Uv(folder / "uv", settings_for_uv(environ))
    program = shutil.which("uv", path=environ.get("PATH"))
    if program is None:
        raise BuildError("uv, which builds environments, is not available; pip install uv")
    return Uv(Path(program), settings_for_uv(environ))


def explain(stderr: str) -> str:
    """Return uv's error on one line, with a hint for known errors."""
    stripped = [line.strip() for line in _FRAMES.sub("", stderr).splitlines()]
    lines = [_MARK.sub("; ", line, count=1) for line in stripped if line and not _NOISE.match(line)]
    words = " ".join(lines).replace(" ; ", "; ").removeprefix("; ")
    words = re.sub(r"No solution found when resolving dependencies:?;?\s*", "", words)
    words = re.sub(r",? ?we can conclude that your requirements are unsatisfiable\.?", "", words)
    if mentions_full_disk(stderr):
        return DISK_FULL
    hint = next((stripped for pattern, stripped in HINTS.items() if re.search(pattern, stderr)), "")
    complaint = words.rstrip(" .") or "uv ended without a message"
    if len(complaint) > _HEAD + _TAIL:
        complaint = f"{complaint[:_HEAD].rstrip()} ... {complaint[-_TAIL:].lstrip()}"
    return f"{complaint}; {hint}" if hint else complaint


def warnings_of(printed: str) -> list[str]:
    """Return uv's warnings, such as yanked versions and impossible links."""
    return list(dict.fromkeys(text.strip() for text in _WARNING.findall(printed)))
