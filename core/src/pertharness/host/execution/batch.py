"""The input of a watcher: jobs for one interpreter, with their limits and what they may read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pertharness.contract.jobs import Isolation, Job, PluginRef
from pertharness.contract.stages import CONFINED, ON_DEVICE

Mechanism = Literal["landlock", "bwrap", "none"]
CORE = PluginRef(name="pertharness", module="pertharness", version="")
"""Plugin name of jobs that the harness does itself; no plugin may have it."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputFile(_Strict):
    """A file that a job reads.

    Attributes
    ----------
    sha256, identity
        As its record, or the plan, has them; empty and None where nobody knows them yet.
    """

    role: str
    path: Path
    sha256: str = ""
    identity: tuple[int, int, int, int] | None = None


class Launch(_Strict):
    """One job of a batch; its folder is laid out and locked."""

    job: Job
    folder: Path
    inputs: tuple[InputFile, ...] = ()
    timeout_s: float | None = None
    memory_mb: float | None = None
    temporary: Path | None = None
    """A short name that the watcher gives to the job's home: paths of sockets in it may have at most 108 bytes."""
    caches: Path | None = None
    """Archive that is unpacked into the home before the job starts, see `pertharness.host.execution.caches`."""
    preload: tuple[str, ...] = ()
    """Modules that a warm worker imports before it forks the job's process."""

    @property
    def uses_gpu(self) -> bool:
        """Whether the job may use GPUs."""
        return uses_gpu(self.job)

    @property
    def is_confined(self) -> bool:
        """Whether the job must not reach the truth."""
        return self.job.stage in CONFINED and self.job.plugin != CORE

    @property
    def reads_everything(self) -> bool:
        """Whether the job may read everything that the user may, because data can come from anywhere."""
        return self.job.plugin == CORE or self.job.stage not in (*CONFINED, "scores")


class Batch(_Strict):
    """Jobs for one interpreter, one after the other, each in a process of its own unless they are `shared`.

    Attributes
    ----------
    kind
        What jobs that may be forked from one warm worker have in common.
    warm
        Whether each is forked from a warm worker; else an interpreter is started for it.
    shared
        Whether they share one process, one after the other.
    guarded
        Files and folders that no confined job should be able to read: the store, the run's folder, the user's data.
    gpu
        The only one that the jobs may see, as ``CUDA_VISIBLE_DEVICES`` calls it.
    """

    kind: str
    python: Path
    warm: bool
    launches: tuple[Launch, ...]
    mechanism: Mechanism
    shared: bool = False
    guarded: tuple[Path, ...] = ()
    gpu: str | None = None


def uses_gpu(job: Job) -> bool:
    """Return whether a job may use GPUs."""
    return job.device.startswith("cuda") and job.stage in ON_DEVICE


def isolation_of(mechanism: Mechanism, abi: int, *, seccomp: bool, partial: list[str]) -> Isolation:
    """Return the isolation of a job, as its status records it; `partial`: what a confined job could still reach."""
    if mechanism == "none":
        return Isolation()
    return Isolation(
        mechanism=mechanism, abi=abi if mechanism == "landlock" else None, seccomp=seccomp, partial=partial
    )


def left_open(mechanism: Mechanism, abi: int, *, seccomp: bool) -> list[str]:
    """Return what this machine's kernel leaves open to every confined job, in addition to the threat model's list."""
    gaps = []
    if mechanism == "landlock" and abi < 3:
        gaps.append("files of the user can be truncated by path: the kernel's Landlock is older than ABI 3")
    if mechanism == "landlock" and abi < 6:
        gaps.append("signals and abstract sockets of other processes: the kernel's Landlock is older than ABI 6")
    if mechanism != "none" and not seccomp:
        calls = "network, shared memory, times and modes of files" if mechanism == "landlock" else "times of files"
        gaps.append(f"{calls}: there is no filter of system calls for this machine")
    return gaps
