"""Seats on this machine: each a watcher in a process of its own, with a socket to it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from pertharness.contract.errors import PertharnessError
from pertharness.host.execution.batch import Batch
from pertharness.host.execution.gpus import GpuClaim
from pertharness.host.execution.group import read_end
from pertharness.host.execution.nodes import Node
from pertharness.host.store.leases import Lease


@dataclass
class Seat:
    """A watcher, and the jobs that it has not ended yet, the first of which it is at."""

    popen: subprocess.Popen[bytes]
    control: socket.socket
    output: IO[bytes]
    nodes: dict[str, Node] = field(default_factory=dict)
    locks: dict[str, Lease] = field(default_factory=dict)
    place: GpuClaim | None = None
    kind: str = ""
    last_kind: str = ""
    """Of which it may have a warm worker."""
    current: str = ""
    since: float = 0.0
    rss_mb: float = 0.0
    _received: bytes = b""

    @property
    def is_free(self) -> bool:
        """Whether it waits for work."""
        return not self.kind

    def send(self, batch: Batch, nodes: Sequence[Node], locks: dict[str, Lease], place: GpuClaim) -> None:
        """Send a batch, with the locks of its jobs: these hold for as long as the watcher lives."""
        self.nodes, self.locks, self.place = {node.key: node for node in nodes}, dict(locks), place
        self.kind = self.last_kind = batch.kind
        self.since = time.monotonic()
        descriptors = [lock.descriptor for lock in (*locks.values(), *place.locks.values())]
        message = batch.model_dump_json().encode() + b"\n"
        # What comes with the first bytes arrives with them; the rest of a long message follows.
        sent = socket.send_fds(self.control, [message], descriptors)
        self.control.sendall(message[sent:])

    def receive(self) -> list[dict[str, Any]]:
        """Return what the watcher reports.

        Raises
        ------
        PertharnessError
            If it has ended.
        """
        part = self.control.recv(1 << 16)
        if not part:
            raise PertharnessError(f"the process that watches jobs has ended: {read_end(self.output).strip()[-500:]}")
        *lines, self._received = (self._received + part).split(b"\n")
        messages = [json.loads(line) for line in lines]
        for message in messages:
            if "started" in message:
                self.current, self.since = message["started"], time.monotonic()
            if "usage" in message:
                self.rss_mb = message["rss_mb"]
            if "idle" in message:
                self.kind, self.current, self.rss_mb = "", "", 0.0
        return messages

    def close(self) -> None:
        """End the watcher and all that it started."""
        self.control.close()  # it ends its jobs when it sees this
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(timeout=20)
        self.popen.kill()
        self.popen.wait()
        self.output.close()


def open_seat() -> Seat:
    """Start a watcher: by exec, so that nothing of the caller's own process is in it."""
    mine, theirs = socket.socketpair()
    output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the watcher
    popen = subprocess.Popen(
        [sys.executable, "-I", "-m", "pertharness.host.execution.watch", str(theirs.fileno())],
        stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/",
        pass_fds=(theirs.fileno(),), env={**os.environ},
    )  # fmt: skip
    theirs.close()
    return Seat(popen, mine, output)


def close_seats(seats: Iterable[Seat]) -> None:
    """End all watchers, at the same time."""
    seats = list(seats)
    for seat in seats:
        with contextlib.suppress(OSError):
            seat.control.shutdown(socket.SHUT_RDWR)
    for seat in seats:
        seat.close()
