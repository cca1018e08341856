"""The executor of this machine: a seat is a watcher process with a socket to it, and perhaps a GPU."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pertharness.contract.errors import PertharnessError, RecipeError
from pertharness.host.execution.batch import Batch, Mechanism
from pertharness.host.execution.bytecode import compile_editable
from pertharness.host.execution.executor import Event, Usage, read_event
from pertharness.host.execution.gpus import GpuClaim, claim_gpu, waits_too
from pertharness.host.execution.hardware import Machine, read_machine
from pertharness.host.execution.nodes import Node
from pertharness.host.execution.plain_files import read_end
from pertharness.host.execution.sandbox import describe_machine, find_mechanism
from pertharness.host.store.leases import Lease


@dataclass(eq=False)
class Watcher:
    """A process that watches jobs, and this end of the socket to it."""

    popen: subprocess.Popen[bytes]
    control: socket.socket
    output: IO[bytes]
    kind: str = ""
    """Kind of its last batch, for which it may have a warm worker."""
    batch: LocalBatch | None = None
    """The batch that it carries out."""

    def send(self, message: bytes, descriptors: list[int]) -> None:
        """Send a line, with open files.

        Raises
        ------
        PertharnessError
            If the process has ended.
        """
        try:
            # Data sent with the first bytes arrive with them; the rest of a long message follows.
            sent = socket.send_fds(self.control, [message], descriptors)
            self.control.sendall(message[sent:])
        except OSError:
            raise self.death() from None

    def death(self) -> PertharnessError:
        """Return the error for a watcher that has ended."""
        words = read_end(self.output).strip()[-500:]
        return PertharnessError(f"the process that watches jobs has ended: {words}")

    def close(self) -> None:
        """End the process and all processes that it started."""
        self.control.close()  # it ends its jobs when it sees this
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(timeout=20)
        self.popen.kill()
        self.popen.wait()
        self.output.close()


@dataclass(eq=False)
class LocalBatch:
    """A batch that a watcher carries out, see `pertharness.host.execution.executor.Running`."""

    watcher: Watcher
    claim: GpuClaim
    is_alive: bool = True
    usage: Usage = field(default_factory=Usage)
    _received: bytes = b""

    def events(self) -> list[Event]:
        """Return what happened since the last call.

        Raises
        ------
        PertharnessError
            If the watcher has ended.
        """
        if not self.is_alive:
            return []
        try:
            part = self.watcher.control.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        if not part:
            raise self.watcher.death()
        *lines, self._received = (self._received + part).split(b"\n")
        events = [self._read(json.loads(line)) for line in lines]
        return [event for event in events if event is not None]

    def _read(self, message: dict[str, Any]) -> Event | None:
        event = read_event(message)
        if event is not None and event.kind == "started":
            self.usage = Usage(event.key, time.monotonic(), self.usage.rss_mb)
        if "usage" in message:
            self.usage = Usage(self.usage.key, self.usage.since, message["rss_mb"])
        if "idle" in message:
            self.end()
        return event

    def end(self) -> None:
        """Release the watcher and the GPU."""
        self.is_alive = False
        self.watcher.batch = None
        self.claim.release()


@dataclass(eq=False)
class LocalSeat:
    """A place for a batch, see `pertharness.host.execution.executor.Seat`."""

    executor: LocalExecutor
    claim: GpuClaim

    @property
    def gpu(self) -> str | None:
        """The only GPU that the jobs may see; None: those that the user's settings allow."""
        return self.claim.visible

    def start(self, batch: Batch, leases: Iterable[Lease]) -> LocalBatch:
        """Start a batch in a watcher, if possible in one that has a warm worker for it."""
        watcher = self.executor.free_watcher(batch.kind)
        self.executor.offered.remove(self)
        watcher.kind, watcher.batch = batch.kind, LocalBatch(watcher, self.claim)
        descriptors = [lease.descriptor for lease in (*leases, *self.claim.leases)]
        watcher.send(batch.model_dump_json().encode() + b"\n", descriptors)
        return watcher.batch

    def give_back(self) -> None:
        """Release the seat and its GPU."""
        self.executor.offered.remove(self)
        self.claim.release()


@dataclass(eq=False)
class LocalExecutor:
    """Watchers on this machine, see `pertharness.host.execution.executor.Executor`; `local_executor` makes one.

    Attributes
    ----------
    folder
        Where jobs work: the store's.
    slots
        Number of batches at a time.
    """

    folder: Path
    slots: int
    mechanism: Mechanism
    least: Mechanism
    watchers: list[Watcher] = field(default_factory=list)
    offered: list[LocalSeat] = field(default_factory=list)
    """Seats without a started batch."""
    _waiting: list[Node] = field(default_factory=list)
    """Nodes for which no GPU was free since the last wait."""

    @functools.cached_property
    def machine(self) -> Machine:
        """The hardware of this machine, examined on first use."""
        return read_machine(self.folder)

    @property
    def n_free(self) -> int:
        """Number of batches that can be started now."""
        return self.slots - len(self.offered) - sum(watcher.batch is not None for watcher in self.watchers)

    def offer(self, node: Node) -> LocalSeat | None:
        """Return a seat with the GPU that jobs like this one need; None where none is free."""
        if self.n_free < 1 or any(waits_too(node, other) for other in self._waiting):
            return None
        claim = claim_gpu(node, self.machine.gpus, self.folder / "work") if node.gpu_gb is not None else GpuClaim()
        if claim is None:
            self._waiting.append(node)
            return None
        self.offered.append(LocalSeat(self, claim))
        return self.offered[-1]

    def free_watcher(self, kind: str) -> Watcher:
        """Return an idle watcher, preferably one that did a batch of this kind before."""
        free = [watcher for watcher in self.watchers if watcher.batch is None]
        if not free:
            if not self.watchers:
                compile_editable()
            self.watchers.append(_start_watcher())
            return self.watchers[-1]
        return next((watcher for watcher in free if watcher.kind == kind), free[0])

    def wait(self, timeout_s: float) -> None:
        """Wait until a watcher reports something, or for some seconds."""
        self._waiting = []
        select.select([watcher.control for watcher in self.watchers if watcher.batch is not None], [], [], timeout_s)

    def close(self) -> None:
        """End all watchers with their jobs, at the same time; then release their GPUs."""
        for watcher in self.watchers:
            with contextlib.suppress(OSError):
                watcher.control.shutdown(socket.SHUT_RDWR)
        for watcher in self.watchers:
            watcher.close()
            if watcher.batch is not None:
                watcher.batch.end()
        for seat in [*self.offered]:
            seat.give_back()
        self.watchers, self._waiting = [], []


def local_executor(
    folder: Path, *, slots: int = 1, isolation: str = "auto", machine: Machine | None = None
) -> LocalExecutor:
    """Return the executor that runs jobs on this machine.

    Parameters
    ----------
    folder
        Where jobs work: that of the store.
    slots
        Number of jobs at a time.
    isolation
        ``auto``, or the mechanism that jobs are isolated by: then what was made with less is made again.
    machine
        What jobs can have, if not all that this machine has.

    Raises
    ------
    RecipeError
        If the requested mechanism is not available on this machine.
    """
    mechanism = find_mechanism(isolation)
    if mechanism is None:
        raise RecipeError(f"isolation {isolation!r} is not available on this machine: {describe_machine()}")
    executor = LocalExecutor(folder, slots, mechanism, "none" if isolation == "auto" else mechanism)
    if machine is not None:
        executor.machine = machine
    return executor


def _start_watcher() -> Watcher:
    """Start a watcher by exec, so that it contains nothing of the caller's process."""
    mine, theirs = socket.socketpair()
    output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the watcher
    popen = subprocess.Popen(
        [sys.executable, "-I", "-m", "pertharness.host.execution.watch", str(theirs.fileno())],
        stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/",
        pass_fds=(theirs.fileno(),), env={**os.environ},
    )  # fmt: skip
    theirs.close()
    return Watcher(popen, mine, output)
