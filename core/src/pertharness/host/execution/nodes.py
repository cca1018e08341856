"""The nodes of a plan: jobs with their dependencies, and their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pertharness.contract.jobs import Job, Stage, State, Status
from pertharness.host.packages.sources import Sources


@dataclass(frozen=True)
class Node:
    """A job, the interpreter that runs it, and the jobs that must be done before it.

    Attributes
    ----------
    job
        What goes to ``job.json``.
    python
        Interpreter of the plugin's environment.
    title
        What a person reads while it runs.
    needs
        Keys of the nodes whose records it reads.
    prepare
        Writes further files into the job's folder before it starts; may raise `PertharnessError`.
    preflight
        Gives the reason why the job cannot be done on this machine or on this data, or None. Asked anew in every run.
    cheap
        Is forked from a warm worker, with other cheap jobs of the same plugin; others start an interpreter.
    preload
        Modules of other distributions that its card says are worth importing before the fork.
    shares_process
        Is done in the same process as others of its kind: checks of a model that takes long to fit.
    caches
        File of compile caches that it gets a copy of, if it is there.
    sums
        Role -> sha256 of files that are no records, such as a dataset's source.
    sources
        Files of its plugin, which must be what they were when the key was made.
    gpu_gb
        Memory of the GPU that it is to have for itself, 0 for any; None if it takes none.
    """

    job: Job
    python: Path
    title: str
    needs: tuple[str, ...] = ()
    prepare: Callable[[Path], None] | None = None
    preflight: Callable[[], str | None] | None = None
    cheap: bool = False
    preload: tuple[str, ...] = ()
    shares_process: bool = False
    caches: Path | None = None
    sums: Mapping[str, str] = field(default_factory=dict)
    sources: Sources | None = None
    gpu_gb: float | None = None
    timeout_s: float | None = None
    memory_mb: float | None = None

    @property
    def key(self) -> str:
        """Key of the record."""
        return self.job.key

    @property
    def stage(self) -> Stage:
        """Stage of the record."""
        return self.job.stage


@dataclass(frozen=True)
class Outcome:
    """How a node ended in this run; if a job that it needs is not done, with the state and message of that job."""

    state: State
    message: str = ""
    status: Status | None = None
    fresh: bool = False
    """The job was carried out in this run."""
