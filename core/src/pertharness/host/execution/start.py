"""Start workers: interpreters that are sandboxed before they execute their first line."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pertharness.contract.jobs import HOME
from pertharness.host.execution.batch import Batch, Launch, Mechanism
from pertharness.host.execution.bwrap import bwrap_command
from pertharness.host.execution.caches import OF_THE_USER, cache_variables
from pertharness.host.execution.sandbox import SHARED_MEMORY, base_grants, find_mechanism, job_grants
from pertharness.host.execution.tree import children_of, die_with_parent
from pertharness.worker import seccomp
from pertharness.worker.job_run import THREAD_VARIABLES
from pertharness.worker.landlock import Grants, abi_version, restrict
from pertharness.worker.proc import OWN_PROC

_OF_THE_CALLER = frozenset({"PWD", "OLDPWD", "_", "VIRTUAL_ENV", "CONDA_PREFIX", "__PYVENV_LAUNCHER__"})
"""Variables that show where the command was called, or from which environment."""
START_S = 120.0
"""Shortest time for importing libraries and reading what jobs share; longer if the job's own limit is."""
LONGEST_ANSWER = 1 << 16
NEW_MOUNTS, NEW_USERS = 0x00020000, 0x10000000
PRIVATE, NO_DEVICES_NO_SETUID = (1 << 18) | (1 << 14), 4 | 2
"""Flags of unshare(2) and mount(2)."""


@dataclass
class WarmWorker:
    """A process that forks other processes, for the jobs of its `kind`."""

    kind: str
    pid: int
    control: socket.socket
    output: IO[bytes]
    base: Grants
    is_own: bool = False
    """Whether it runs only code of the harness and common libraries, so that its reports on children are reliable."""
    _received: bytes = b""

    def read(self, timeout_s: float | None = None) -> dict[str, float] | None:
        """Return its next answer; None if it has ended, does not answer in time, or answers invalid JSON."""
        self.control.settimeout(timeout_s)
        while b"\n" not in self._received:
            try:
                part = self.control.recv(4096)
            except OSError:
                return None
            if not part or len(self._received) > LONGEST_ANSWER:
                return None
            self._received += part
        line, _, self._received = self._received.partition(b"\n")
        try:
            return {str(name): float(value) for name, value in json.loads(line).items()}
        except (ValueError, TypeError, AttributeError, RecursionError):
            return None

    @property
    def has_answer(self) -> bool:
        """Whether there is received data that was not read."""
        return b"\n" in self._received

    def fork(
        self, request: Mapping[str, object], descriptors: tuple[int, ...] = (), timeout_s: float = START_S
    ) -> int | None:
        """Return the number of the requested process; None if the worker has ended, or does not answer.

        Unless the worker runs only the harness's own code, the process must be a child of the watcher; otherwise the
        worker did not make it.
        """
        try:
            socket.send_fds(self.control, [json.dumps(request).encode() + b"\n"], list(descriptors))
        except OSError:
            return None
        pid = int((self.read(timeout_s) or {}).get("pid", 0))
        is_made = pid > 0 and (self.is_own or pid in children_of(os.getpid()))
        return pid if is_made and pid != self.pid else None

    def fork_job(self, launch: Launch, grants: Grants | None) -> int | None:
        """Return the number of the process of a job, as `fork` does."""
        layer = None if grants is None else {"abi": abi_version(), **vars(grants)}
        path = str(launch.folder / "job.json")
        variables, preload = job_variables(launch), launch.preload
        return self.fork(
            {"job": path, "layer": layer, "variables": variables, "preload": preload, "waits": self.is_own},
            timeout_s=max(START_S, launch.timeout_s or 0.0),
        )

    def close(self) -> None:
        """End the worker."""
        self.control.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self.output.close()


def start_zygote(batch: Batch) -> WarmWorker:
    """Start the process that warm workers of this interpreter are forked from: it has imported libraries, but no data.

    It runs outside the sandbox: everything that it executes, including start-up files of the environment, was also
    executed by the harness, which has the same interpreter.
    """
    mine, theirs = socket.socketpair()
    output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
    command = [*worker_command(batch.python), "--warm", str(theirs.fileno())]
    popen = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/",
        env=_variables(batch), pass_fds=(theirs.fileno(),), preexec_fn=die_with_parent,
    )  # fmt: skip
    theirs.close()
    popen.returncode = 0  # waited for by its number
    return WarmWorker("zygote", popen.pid, mine, output, Grants())


def start_warm(batch: Batch, zygote: WarmWorker | None) -> WarmWorker | None:
    """Start a warm worker for the jobs of a batch: it may access what they share, and each fork its own files.

    It is forked from a `zygote` of the same interpreter, or is an interpreter of its own that is sandboxed before it
    executes anything. Return None if the zygote does not answer.
    """
    mine, theirs = socket.socketpair()
    output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
    # All jobs that are forked from it inherit this, so none can read there what another one printed.
    printed = os.open(f"/proc/self/fd/{output.fileno()}", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    base = base_grants(batch.python)
    grants = base + Grants(read=("/proc",))  # its forks may access only their own entry, whose number is not known yet
    for launch in batch.launches:
        grants += job_grants(launch, base, cuda=False, shared_memory=False)
    if not batch.launches[0].is_confined:  # later jobs of other batches are forked from it, too
        grants += Grants(read=("/",), write=(str(batch.launches[0].folder.parent),))
    landlock = batch.mechanism == "landlock"
    if zygote is None:
        command = [*worker_command(batch.python), "--warm", str(theirs.fileno())]
        popen = _start(command, batch, grants, printed, pass_fds=(theirs.fileno(),), cwd="/", private=False)
        popen.returncode = 0  # waited for by its number
        pid: int | None = popen.pid
    else:
        request = {
            "layer": {"abi": abi_version(), **vars(grants)} if landlock else None,
            "filtered": landlock and seccomp.is_supported(), "variables": dict(_variables(batch)),
        }  # fmt: skip
        pid = zygote.fork(request, (theirs.fileno(), printed))
    theirs.close()
    os.close(printed)
    if pid is None:
        return None
    return WarmWorker(batch.kind, pid, mine, output, base, is_own=zygote is not None)


def start_alone(batch: Batch, output: IO[bytes]) -> tuple[subprocess.Popen[bytes], Grants]:
    """Start an interpreter for the jobs of a batch, and return it with what it may access."""
    first = batch.launches[0]
    base, cuda = base_grants(batch.python), first.uses_gpu
    # For jobs that must not reach the truth, not even the shared /dev/shm may contain data of other processes.
    private = batch.mechanism == "bwrap" or (batch.mechanism == "landlock" and can_have_own_memory())
    grants = base
    for launch in batch.launches:
        grants += job_grants(launch, base, cuda=cuda, shared_memory=private or launch.is_confined)
    command = worker_command(batch.python)
    command += [str(launch.folder / "job.json") for launch in batch.launches]
    return _start(command, batch, grants, output, cwd=str(first.folder), private=private), grants


def worker_command(python: Path) -> list[str]:
    """Return the command that starts a worker; it uses bytecode only if it was made from the source next to it."""
    return [str(python), "-I", "--check-hash-based-pycs", "always", "-m", "pertharness.worker"]


def _start(
    command: list[str], batch: Batch, grants: Grants, output: IO[bytes] | int, *, cwd: str, private: bool,
    pass_fds: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:  # fmt: skip
    more: tuple[int, ...] = ()
    if batch.mechanism == "bwrap":
        command, more = bwrap_command(command, grants)
    try:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd=cwd,
            env=_variables(batch), pass_fds=pass_fds + more,
            preexec_fn=_preparation(batch.mechanism, grants, private=private),
        )  # fmt: skip
    finally:
        for descriptor in more:
            os.close(descriptor)


def ask_interpreter(
    python: Path, arguments: list[str], env: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Return the answer of an interpreter that may read no data, sandboxed like its jobs.

    Raises
    ------
    OSError
        If it cannot be started.
    subprocess.SubprocessError
        If it does not answer in time, or cannot be sandboxed.
    """
    mechanism, grants = find_mechanism("auto") or "none", base_grants(python) + Grants(read=OWN_PROC)
    command, descriptors = [str(python.absolute()), *arguments], tuple[int, ...]()
    if mechanism == "bwrap":
        command, descriptors = bwrap_command(command, grants)
    try:
        return subprocess.run(
            command, capture_output=True, text=True, env=env, timeout=timeout_s, cwd="/", stdin=subprocess.DEVNULL,
            pass_fds=descriptors, preexec_fn=_preparation(mechanism, grants, private=False), check=False,
        )  # fmt: skip
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _preparation(mechanism: Mechanism, grants: Grants, *, private: bool) -> Callable[[], None]:
    """Return what the new process does before it becomes the interpreter; the process that forks it has no threads."""
    abi, filtered = abi_version(), seccomp.is_supported()

    def prepare() -> None:
        die_with_parent()
        if mechanism == "landlock":
            if private:
                take_own_memory()
            restrict(grants, abi)
            if filtered:
                seccomp.close_calls()

    return prepare


@functools.cache
def can_have_own_memory() -> bool:
    """Return whether processes can have their own ``/dev/shm`` here, tried in a process that ends at once."""
    if sys.platform != "linux":
        return False
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            take_own_memory()
            os._exit(0)
        os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def take_own_memory() -> None:
    """Mount an empty file system on ``/dev/shm``, in a mount namespace of this process and its children.

    Raises
    ------
    OSError
        If the system does not let this user.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(NEW_MOUNTS):
        _check(libc.unshare(NEW_MOUNTS | NEW_USERS))
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    _check(libc.mount(b"none", b"/", None, ctypes.c_ulong(PRIVATE), None))
    _check(libc.mount(b"tmpfs", SHARED_MEMORY.encode(), b"tmpfs", ctypes.c_ulong(NO_DEVICES_NO_SETUID), b"mode=1777"))


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _variables(batch: Batch) -> Mapping[str, str]:
    """Return the environment of a worker, without variables that show a plugin where the user keeps data."""
    left_out = _OF_THE_CALLER | OF_THE_USER
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PERTHARNESS_", "PYTHON", "XDG_")) and name not in left_out
    }
    # For programs that the plugin starts: those of its own environment first, and no packages of the user.
    variables["PATH"] = os.pathsep.join([str(batch.python.parent), os.environ.get("PATH", os.defpath)])
    variables["PYTHONNOUSERSITE"] = "1"
    variables |= dict.fromkeys(THREAD_VARIABLES, str(batch.launches[0].job.threads))
    variables |= job_variables(batch.launches[0])
    if batch.gpu is not None:
        variables["CUDA_VISIBLE_DEVICES"] = batch.gpu
    if sys.platform != "linux":
        variables["PERTHARNESS_WATCHER"] = str(os.getpid())
    return variables


def job_variables(launch: Launch) -> dict[str, str]:
    """Return the variables that put a job's home, caches and temporary files into its own folder."""
    home = launch.folder / HOME
    return {"HOME": str(home), "TMPDIR": str(launch.temporary or home), **cache_variables(home)}
