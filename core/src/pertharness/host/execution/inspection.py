"""The last checks in a process of their own, because a file may crash or hang the libraries that read it."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import select
import signal
import time
import traceback
import warnings
from typing import NoReturn

from pertharness.contract.errors import ContractError
from pertharness.contract.jobs import Claim
from pertharness.host.execution.batch import Launch
from pertharness.host.execution.last_checks import inspect_artefacts, opens_arrays
from pertharness.host.execution.tree import die_with_parent

TIME_S = 900.0
"""Time limit for the files of one job: 2 GB, the prediction of 4000 perturbations of 60 000 genes, at 2 MB/s."""
MEMORY = 8_000_000_000
"""Memory limit of the checks in bytes: reads are bounded, but a library's allocations for malformed bytes are not."""
MOST_WORDS = 100_000
"""Longest error in bytes that is passed on."""


def inspect_apart(launch: Launch, claim: Claim, *, time_s: float = TIME_S, memory: int = MEMORY) -> None:
    """Check the files of a job as `inspect_artefacts` does, in a fork that may take so much time and memory.

    HDF5 is a large library in C, and a plugin may put any bytes before it: a file that makes it crash, or go on for
    ever, is the job's fault, and must not end what watches jobs. Short texts are checked at once, without a fork.

    Raises
    ------
    ContractError
        As `inspect_artefacts` does, and where the checks come to no end.
    """
    if not opens_arrays(launch):
        inspect_artefacts(launch, claim)
        return
    import h5py  # noqa: F401 - once here, and not in every fork

    ours, theirs = os.pipe()
    with warnings.catch_warnings():
        # Of forks beside threads: those of BLAS, which the checks do not call. A watcher starts none itself.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _inspect_and_exit(launch, claim, theirs, memory)
    os.close(theirs)
    try:
        words, in_time = _read(ours, time.monotonic() + time_s)
    finally:
        os.close(ours)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if not words.endswith("\n"):
        how = f"were ended by the signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
        why = f"the checks {how}" if in_time else f"the checks took more than {time_s:g} s"
        raise ContractError(f"plugin {launch.job.plugin.name!r}, {launch.job.stage} {launch.job.name!r}: {why}")
    if words != "\n":
        raise ContractError(words[:-1])


def _inspect_and_exit(launch: Launch, claim: Claim, answer: int, memory: int) -> NoReturn:
    """Write what is wrong, or nothing, and a line feed once all was checked; nobody else's code runs afterwards."""
    gc.disable()  # it would write to files that the watcher shares
    try:
        die_with_parent()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        words = ""
        try:
            inspect_artefacts(launch, claim)
        except ContractError as error:
            words = str(error)
        with os.fdopen(answer, "wb") as file:
            file.write(words.encode("utf-8", "backslashreplace")[:MOST_WORDS] + b"\n")
        os._exit(0)
    except BaseException:
        traceback.print_exc()  # a fault of the checks themselves: to what is shown where the watcher ends
        raise
    finally:
        os._exit(1)


def _read(descriptor: int, deadline: float) -> tuple[str, bool]:
    """Return what is written to a pipe until its other end is closed, and whether that was in time."""
    received = b""
    while select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(descriptor, 1 << 16)
        if not part:
            return received.decode("utf-8", "replace"), True
        received += part
    return received.decode("utf-8", "replace"), False
