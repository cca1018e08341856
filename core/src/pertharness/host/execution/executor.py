"""The interface of executors, which run jobs on this machine (`pertharness.host.execution.local`) or elsewhere.

The runner keeps order, leases and commits. It never starts a process: it asks the executor for a seat for the job that
is next, starts a batch of jobs like it there, and takes the events that the batch reports until it has ended. A job
needs nothing but its batch, the store and an interpreter: `pertharness.host.execution.watch` carries a batch out
wherever that command can be run and the store can be read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pertharness.host.execution.batch import Batch, Mechanism
from pertharness.host.execution.hardware import Machine
from pertharness.host.execution.nodes import Node
from pertharness.host.store.leases import Lease


@dataclass(frozen=True)
class Event:
    """What happened to a job of a batch.

    Attributes
    ----------
    kind
        ``started``; ``ended``, its status is in its folder; ``left``, it has to be done again; ``changed``, a file that
        it reads is not what its record says; ``full``, the disk of its folder is.
    key
        Of the job.
    """

    kind: Literal["started", "ended", "left", "changed", "full"]
    key: str
    message: str = ""


@dataclass(frozen=True)
class Usage:
    """What the current job of a batch has used so far.

    Attributes
    ----------
    key
        Of the job; empty before the first one starts.
    since
        When it started, as `time.monotonic` counts.
    """

    key: str = ""
    since: float = 0.0
    rss_mb: float = 0.0


class Running(Protocol):
    """A started batch."""

    def events(self) -> list[Event]:
        """Return the events since the last call, without waiting.

        Raises
        ------
        PertharnessError
            If what watches the jobs has ended before them.
        """

    @property
    def is_alive(self) -> bool:
        """Whether jobs of the batch may still run; False once all of its events were returned."""

    @property
    def usage(self) -> Usage:
        """What the current job has used so far."""


class Seat(Protocol):
    """A place for one batch, with the hardware that its jobs need; kept until it is used or released."""

    @property
    def gpu(self) -> str | None:
        """The only GPU that the jobs may see, as ``CUDA_VISIBLE_DEVICES`` calls it; None: all of the machine."""

    def start(self, batch: Batch, leases: Iterable[Lease]) -> Running:
        """Start a batch; the leases of its jobs hold while the process that watches them lives."""

    def give_back(self) -> None:
        """Release the seat."""


class Executor(Protocol):
    """The place where jobs run."""

    @property
    def machine(self) -> Machine:
        """The hardware that one job can have here; if machines differ, the largest of each figure."""

    @property
    def mechanism(self) -> Mechanism:
        """What isolates jobs here."""

    @property
    def least(self) -> Mechanism:
        """The least isolation that records must have; those with less are made again."""

    @property
    def n_free(self) -> int:
        """Number of batches that can be started now."""

    def offer(self, node: Node) -> Seat | None:
        """Return a seat for jobs like this one; None if it must wait until another batch ends."""

    def wait(self, timeout_s: float) -> None:
        """Wait until a batch has an event, or for some seconds."""

    def close(self) -> None:
        """End all batches, and return once they have ended. The executor can be used again."""


def read_event(message: dict[str, Any]) -> Event | None:
    """Return the event in a watcher's message; None if the message is not an event, such as a report of usage."""
    for kind in ("started", "ended", "left", "changed", "full"):
        if kind in message:
            return Event(kind, str(message[kind]), str(message.get("message", "")))
    return None
