"""The runner: order, what the store has already, claims and commits; what runs a job is a watcher's matter."""

from __future__ import annotations

import math
import select
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from pertharness.contract.errors import PertharnessError, RecipeError, Skip, StoreError
from pertharness.contract.jobs import State, Status
from pertharness.files.trees import remove_tree
from pertharness.files.whole import write_text
from pertharness.host.execution.batch import Batch, InputFile, Launch, Mechanism
from pertharness.host.execution.bytecode import compile_editable
from pertharness.host.execution.gpus import GpuClaim, find_place, shares_gpu
from pertharness.host.execution.hardware import Gpu
from pertharness.host.execution.kinds import is_forked, kind_of
from pertharness.host.execution.layout import STRENGTH, lay_out
from pertharness.host.execution.local import Seat, close_seats, open_seat
from pertharness.host.execution.nodes import Node, Outcome
from pertharness.host.execution.ready import Ready
from pertharness.host.execution.sandbox import describe_machine, find_mechanism
from pertharness.host.store.leases import Lease
from pertharness.host.store.records import STATUS, Store, read_status

TICK_S = 0.2
"""Between two looks at what other runs on the same store are doing, and two drawings of the display."""
MOST_IN_ONE_BATCH = 64


class DiskFullError(StoreError):
    """The store's disk is full: nothing more can be recorded."""


class Observer(Protocol):
    """What a display is told."""

    def planned(self, number: int) -> None:
        """Take note that there are so many more jobs."""

    def started(self, node: Node) -> None:
        """Take note that a job begins."""

    def ended(self, node: Node, outcome: Outcome) -> None:
        """Take note of a job's outcome, fresh or from the store."""

    def tick(self, running: list[Seat]) -> None:
        """Take note that some time has passed."""


class Runner:
    """Carries out nodes: what the store has is not done again, each job ends in a record, the others go on.

    Parameters
    ----------
    store
        Where records lie.
    slots
        Number of jobs at a time.
    retry
        States of records that are to be made again.
    observer
        Display.
    gpus
        Those of this machine: each goes to one worker at a time, also where several runs share the store. Without any,
        jobs that are to have one are carried out like the others.
    isolation
        ``auto``, or the mechanism that jobs are isolated by: then what was made with less is made again.
    guarded
        Files and folders that models must not be able to read, beside the store.

    Raises
    ------
    RecipeError
        If this machine has not the mechanism that is asked for.
    """

    def __init__(
        self, store: Store, *, slots: int = 1, retry: frozenset[str] = frozenset(), observer: Observer | None = None,
        gpus: tuple[Gpu, ...] = (), isolation: str = "auto", guarded: tuple[Path, ...] = (),
    ) -> None:  # fmt: skip
        mechanism = find_mechanism(isolation)
        if mechanism is None:
            raise RecipeError(f"isolation {isolation!r} is not available on this machine: {describe_machine()}")
        self.store = store
        self.slots = slots
        self.retry = retry
        self.observer = observer
        self.gpus = gpus
        self.mechanism: Mechanism = mechanism
        self.least = STRENGTH.get(isolation, 0)
        self.guarded = (store.root, *guarded)
        self.outcomes: dict[str, Outcome] = {}
        self._seats: list[Seat] = []
        self._elsewhere: dict[str, Node] = {}
        """Nodes that another run is at."""

    def run(self, nodes: Iterable[Node]) -> dict[str, Outcome]:
        """Return the outcome of every node, by key.

        Raises
        ------
        DiskFullError
            If the store's disk is full.
        StoreError
            If a file of the store was changed while jobs read it.
        KeyboardInterrupt
            After all workers were ended; what they had not finished is done by the next run.
        """
        self._ready = Ready(nodes, self.outcomes)
        self._looked = 0.0
        try:
            while len(self._ready) or self._elsewhere or any(not seat.is_free for seat in self._seats):
                self._settle()
                self._start()
                self._wait()
        finally:
            close_seats(self._seats)
            for seat in self._seats:
                self._release(seat)
            self._seats = []
            self.store.sums.save()
        return self.outcomes

    def _settle(self) -> None:
        """Conclude all that became ready and needs no worker: in the store, blocked, or not possible here."""
        if self._elsewhere and time.monotonic() - self._looked > TICK_S:
            self._looked = time.monotonic()
            for node in self._elsewhere.values():
                self._ready.put_back(node, kind_of(node))  # it is claimed again, if nobody has finished it
            self._elsewhere = {}
        while new := self._ready.pop_new():
            for node in new:
                outcome = self._known(node)
                if outcome is None:
                    self._ready.put(node, kind_of(node))
                else:
                    self._conclude(node, outcome)

    def _known(self, node: Node) -> Outcome | None:
        for need in node.needs:
            before = self.outcomes[need]
            if before.state != "done":  # the cause's own state and words go down to all that waited for it
                return Outcome(before.state, before.message)
        status = self.store.status(node.stage, node.key)
        if status is not None and not self._is_to_be_redone(node, status):
            return Outcome(status.state, status.message, status, fresh=False)
        reason = node.preflight() if node.preflight else None
        return Outcome("skipped", reason) if reason else None

    def _is_to_be_redone(self, node: Node, status: Status) -> bool:
        """Return whether a record is of no use: its state is retried, or it was made otherwise than it would be now."""
        if status.state in self.retry:
            return True
        if status.isolation is not None and STRENGTH[status.isolation.mechanism] < self.least:
            return True
        sums = {file.role: file.sha256 for file in self._inputs(node) if file.sha256}
        return any(status.inputs.get(role, sha256) != sha256 for role, sha256 in sums.items())

    def _inputs(self, node: Node) -> list[InputFile]:
        """Return the files that a job reads, with what their records say of them."""
        files = []
        for role, path in node.job.inputs_by_role().items():
            outcome = self.outcomes.get(path.parent.name)
            artefact = outcome.status.artefacts.get(path.name) if outcome and outcome.status else None
            if artefact is not None:
                files.append(InputFile(role=role, path=path, sha256=artefact.sha256, identity=artefact.identity))
            elif path.exists() and path.parent != self.store.work(node.key):  # what is laid out for it is its own
                files.append(InputFile(role=role, path=path, sha256=node.sums.get(role, "")))
        return files

    def _conclude(self, node: Node, outcome: Outcome) -> None:
        self._ready.drop(node)
        self.outcomes[node.key] = outcome
        self._ready.end(node.key)
        if self.observer:
            self.observer.ended(node, outcome)

    def _start(self) -> None:
        free = [seat for seat in self._seats if seat.is_free]
        waiting_for_gpu: list[Node] = []
        places = self.slots - len(self._seats) + len(free)
        kinds = list(self._ready.kinds()) if places else []
        for position, (kind, alike) in enumerate(kinds):
            if not places:
                break
            first = alike[0]
            if any(shares_gpu(first, other) for other in waiting_for_gpu):
                continue
            place = find_place(first, self.gpus, self.store)
            if place is None:  # until a GPU is free, the others go on
                waiting_for_gpu.append(first)
                continue
            # What is alike is spread over the free seats, unless other work waits for these.
            others = len(kinds) - position - 1
            share = math.ceil(len(alike) / max(1, places - others)) if first.cheap else 1
            chosen = alike[: min(MOST_IN_ONE_BATCH, share)]
            if self._send(chosen, kind, place, free):
                places -= 1
            else:
                place.release()

    def _send(self, chosen: list[Node], kind: tuple[object, ...], place: GpuClaim, free: list[Seat]) -> bool:
        """Claim jobs and send those that can be had to a seat; return whether there were any."""
        locks = {}
        for node in chosen:
            lock = self.store.lease(node.key)
            self._ready.take(kind, [node])
            if lock is None:
                self._elsewhere[node.key] = node
            elif self._lay_out(node, lock):
                locks[node.key] = lock
        nodes = [node for node in chosen if node.key in locks]
        if not nodes:
            return False
        name = repr(kind)
        seat = next((seat for seat in free if seat.last_kind == name), free[0] if free else None)
        if seat is None:
            if not self._seats:
                compile_editable()
            seat = open_seat()
            self._seats.append(seat)
        else:
            free.remove(seat)
        seat.send(self._batch(nodes, name, place), nodes, locks, place)
        return True

    def _batch(self, nodes: list[Node], name: str, place: GpuClaim) -> Batch:
        launches = tuple(
            Launch(
                job=node.job, folder=self.store.work(node.key), inputs=tuple(self._inputs(node)),
                timeout_s=node.timeout_s, memory_mb=node.memory_mb, preload=node.preload, caches=node.caches,
            )
            for node in nodes
        )  # fmt: skip
        return Batch(
            kind=name, python=nodes[0].python, warm=is_forked(nodes[0], self.mechanism), launches=launches,
            mechanism=self.mechanism, shared=nodes[0].shares_process, guarded=self.guarded, gpu=place.visible,
        )  # fmt: skip

    def _lay_out(self, node: Node, lock: Lease) -> bool:
        """Lay out the folder of a job that is locked; return False where it needs no worker any more."""
        work = self.store.work(node.key)
        if (outcome := self._finished_before(node, work)) is not None:
            lock.release()
            self._conclude(node, outcome)
            return False
        try:
            lay_out(node, work, self.mechanism)
        except PertharnessError as error:
            state: State = "skipped" if isinstance(error, Skip) else "failed"
            status = Status(key=node.key, state=state, type=type(error).__name__, message=str(error))
            write_text(work / STATUS, status.model_dump_json(indent=1))
            self._commit(node, status, lock)
            return False
        return True

    def _finished_before(self, node: Node, work: Path) -> Outcome | None:
        """Return the outcome of a job that another run finished meanwhile, or left finished but not in its place."""
        status = self.store.status(node.stage, node.key)
        if status is None or self._is_to_be_redone(node, status):
            status = read_status(work, node.key)
            if status is None or self._is_to_be_redone(node, status):
                return None
            self.store.commit(node.stage, node.key)
        return Outcome(status.state, status.message, status, fresh=False)

    def _wait(self) -> None:
        """Wait until a watcher reports something, or a while."""
        busy = {seat.control: seat for seat in self._seats if not seat.is_free}
        if busy:
            for control in select.select(list(busy), [], [], TICK_S)[0]:
                for message in busy[control].receive():
                    self._hear(busy[control], message)
        elif self._elsewhere:
            time.sleep(TICK_S)
        if self.observer:
            self.observer.tick([seat for seat in self._seats if not seat.is_free])

    def _hear(self, seat: Seat, message: dict[str, Any]) -> None:
        if "started" in message:
            if self.observer:
                self.observer.started(seat.nodes[message["started"]])
        elif "ended" in message:
            key = message["ended"]
            node = seat.nodes.pop(key)
            status = read_status(self.store.work(key), key)
            if status is None:
                raise StoreError(f"the status of the job {key!r} cannot be read; rerun the same command")
            self._check_sources(node)
            self._commit(node, status, seat.locks.pop(key))
        elif "full" in message:
            raise DiskFullError(
                f"the disk of the store {str(self.store.root)!r} is full; free some disk space and rerun "
                "the same command"
            )
        elif "changed" in message:
            raise StoreError(f"{message['message']}; rerun the same command, which makes it anew")
        elif "idle" in message:
            for key, node in seat.nodes.items():  # it did not come to these
                seat.locks.pop(key).release()
                self._ready.put_back(node, kind_of(node))
            seat.nodes = {}
            self._release(seat)

    def _check_sources(self, node: Node) -> None:
        """Raise where a plugin was edited while its job ran, whose key says what it was before."""
        changed = node.sources.find_changed() if node.sources else None
        if changed is not None:
            remove_tree(self.store.work(node.key))
            raise StoreError(
                f"{str(changed)!r} of the plugin {node.job.plugin.name!r} was changed while the run used it; rerun the "
                "same command, which takes it as it is by then"
            )

    def _release(self, seat: Seat) -> None:
        """Release the locks that a seat still has."""
        for lock in seat.locks.values():
            lock.release()
        if seat.place is not None:
            seat.place.release()
        seat.locks, seat.place = {}, None

    def _commit(self, node: Node, status: Status, lock: Lease) -> None:
        self.store.commit(node.stage, node.key)
        lock.release()
        self._conclude(node, Outcome(status.state, status.message, status, fresh=True))
