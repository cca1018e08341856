"""The runner: order, results from the store, leases and commits. The executor decides where jobs run."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pertharness.contract.errors import PertharnessError, Skip, StoreError
from pertharness.contract.jobs import State, Status
from pertharness.contract.options import keeps_model
from pertharness.contract.stages import MODEL
from pertharness.files.trees import remove_tree
from pertharness.files.whole import write_text
from pertharness.host.execution.batch import Batch, InputFile, Launch
from pertharness.host.execution.executor import Event, Executor, Running, Usage
from pertharness.host.execution.kinds import is_forked, kind_of
from pertharness.host.execution.layout import STRENGTH, lay_out, leave_for_next_try, set_aside
from pertharness.host.execution.nodes import Node, Outcome
from pertharness.host.execution.ready import Ready
from pertharness.host.store.leases import Lease
from pertharness.host.store.records import STATUS, Store, read_job, read_status

TICK_S = 0.2
"""Seconds between two looks at other runs on the same store, and between two updates of the display."""
MOST_IN_ONE_BATCH = 64


class DiskFullError(StoreError):
    """The store's disk is full, so nothing more can be recorded."""


class Observer(Protocol):
    """The interface of a display of progress."""

    def planned(self, number: int) -> None:
        """Register additional jobs."""

    def started(self, node: Node) -> None:
        """Register that a job starts."""

    def ended(self, node: Node, outcome: Outcome) -> None:
        """Register a job's outcome, fresh or from the store."""

    def tick(self, running: list[tuple[Node, Usage]]) -> None:
        """Update the display; `running`: the running jobs, with their usage so far."""


@dataclass(frozen=True)
class _Started:
    """A started batch, with those of its jobs that have not ended."""

    running: Running
    nodes: dict[str, Node]


class Runner:
    """Carry out nodes: use results from the store, and record how each other job ends, without stopping at failures.

    Parameters
    ----------
    store
        Where records lie.
    executor
        What jobs run on.
    retry
        States of records that are to be made again.
    observer
        Display.
    guarded
        Files and folders that models must not be able to read, beside the store.
    """

    def __init__(
        self, store: Store, executor: Executor, *, retry: frozenset[str] = frozenset(),
        observer: Observer | None = None, guarded: tuple[Path, ...] = (),
    ) -> None:  # fmt: skip
        self.store = store
        self.executor = executor
        self.retry = retry
        self.observer = observer
        self.guarded = (store.root, *guarded)
        self.outcomes: dict[str, Outcome] = {}
        self._started: list[_Started] = []
        self._leases: dict[str, Lease] = {}
        """Keys of the jobs that this run carries out."""
        self._elsewhere: dict[str, Node] = {}
        """Nodes that another run carries out."""
        self._has_to_wait = False
        """Whether the executor had no seat for a ready node."""

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
            while len(self._ready) or self._elsewhere or self._started:
                self._settle()
                self._start()
                self._wait()
        finally:
            self.executor.close()
            self._started = []
            for key in [*self._leases]:
                self._leases.pop(key).release()
            self.store.sums.save()
        return self.outcomes

    def _settle(self) -> None:
        """Settle the ready nodes that need no worker: in the store, blocked, or not possible here."""
        if self._elsewhere and time.monotonic() - self._looked > TICK_S:
            self._looked = time.monotonic()
            for node in self._elsewhere.values():
                self._ready.put_back(node, kind_of(node))  # claimed again, if no other run has finished it
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
            if before.state != "done":  # the state and message of the cause are passed on to all dependent nodes
                return Outcome(before.state, before.message)
        status = self.store.status(node.stage, node.key)
        of_use = status is not None and not self._is_to_be_redone(node, status)
        known = Outcome(status.state, status.message, status, fresh=False) if status is not None and of_use else None
        if known is not None and not lacks_model(node, known.status, self.store.record(node.stage, node.key)):
            return known
        reason = node.preflight() if node.preflight else None
        return (known or Outcome("skipped", reason)) if reason else None

    def _is_to_be_redone(self, node: Node, status: Status) -> bool:
        """Return whether a record cannot be used: its state is retried, or it was made under less isolation."""
        if status.state in self.retry:
            return True
        if status.isolation is not None and STRENGTH[status.isolation.mechanism] < STRENGTH[self.executor.least]:
            return True
        sums = {file.role: file.sha256 for file in self._inputs(node) if file.sha256}
        return any(status.inputs.get(role, sha256) != sha256 for role, sha256 in sums.items())

    def _inputs(self, node: Node) -> list[InputFile]:
        """Return the files that a job reads, with their sums and identities from the records."""
        files = []
        for role, path in node.job.inputs_by_role().items():
            outcome = self.outcomes.get(path.parent.name)
            artefact = outcome.status.artefacts.get(path.name) if outcome and outcome.status else None
            if artefact is not None:
                files.append(InputFile(role=role, path=path, sha256=artefact.sha256, identity=artefact.identity))
            elif path.exists() and path.parent != self.store.work(node.key):  # the files laid out for it are its own
                files.append(InputFile(role=role, path=path, sha256=node.sums.get(role, "")))
        return files

    def _conclude(self, node: Node, outcome: Outcome) -> None:
        self._ready.drop(node)
        self.outcomes[node.key] = outcome
        self._ready.end(node.key)
        if self.observer:
            self.observer.ended(node, outcome)

    def _start(self) -> None:
        self._has_to_wait = False
        kinds = list(self._ready.kinds()) if self.executor.n_free else []
        for position, (kind, alike) in enumerate(kinds):
            n_free = self.executor.n_free
            if not n_free:
                break
            seat = self.executor.offer(alike[0])
            if seat is None:  # the others go on meanwhile
                self._has_to_wait = True
                continue
            # Similar jobs are spread over the free seats, unless other work waits for these.
            others = len(kinds) - position - 1
            share = math.ceil(len(alike) / max(1, n_free - others)) if alike[0].cheap else 1
            nodes = self._lease(alike[: min(MOST_IN_ONE_BATCH, share)], kind)
            if not nodes:
                seat.give_back()
                continue
            batch = self._batch(nodes, repr(kind), seat.gpu)
            running = seat.start(batch, [self._leases[node.key] for node in nodes])
            self._started.append(_Started(running, {node.key: node for node in nodes}))

    def _lease(self, chosen: list[Node], kind: tuple[object, ...]) -> list[Node]:
        """Claim the leases of jobs and lay out their folders; return the jobs that can be started."""
        ready = []
        for node in chosen:
            lease = self.store.lease(node.key)
            self._ready.take(kind, [node])
            if lease is None:
                self._elsewhere[node.key] = node
                continue
            self._leases[node.key] = lease
            if self._lay_out(node):
                ready.append(node)
        return ready

    def _batch(self, nodes: list[Node], kind: str, gpu: str | None) -> Batch:
        launches = tuple(
            Launch(
                job=node.job, folder=self.store.work(node.key), inputs=tuple(self._inputs(node)),
                timeout_s=node.timeout_s, memory_mb=node.memory_mb, preload=node.preload, caches=node.caches,
            )
            for node in nodes
        )  # fmt: skip
        return Batch(
            kind=kind, python=nodes[0].python, warm=is_forked(nodes[0], self.executor.mechanism), launches=launches,
            mechanism=self.executor.mechanism, shared=nodes[0].shares_process, guarded=self.guarded, gpu=gpu,
        )  # fmt: skip

    def _lay_out(self, node: Node) -> bool:
        """Lay out the folder of a job whose lease is held; return False if it needs no worker any more."""
        work = self.store.work(node.key)
        if (outcome := self._finished_before(node, work)) is not None:
            self._leases.pop(node.key).release()
            self._conclude(node, outcome)
            return False
        try:
            lay_out(node, work, self.executor.mechanism)
        except PertharnessError as error:
            state: State = "skipped" if isinstance(error, Skip) else "failed"
            status = Status(key=node.key, state=state, type=type(error).__name__, message=str(error))
            write_text(work / STATUS, status.model_dump_json(indent=1))
            self._commit(node, status)
            return False
        return True

    def _finished_before(self, node: Node, work: Path) -> Outcome | None:
        """Return the outcome of a job that another run finished meanwhile, or finished without moving it into place."""
        status, record = self.store.status(node.stage, node.key), self.store.record(node.stage, node.key)
        if status is None or self._is_to_be_redone(node, status) or lacks_model(node, status, record):
            status = read_status(work, node.key)
            if status is None or self._is_to_be_redone(node, status) or lacks_model(node, status, work):
                return None
            self.store.commit(node.stage, node.key)
        return Outcome(status.state, status.message, status, fresh=False)

    def _wait(self) -> None:
        """Wait for an event, or a while, and process what the batches report."""
        if self._started or self._elsewhere or self._has_to_wait:
            self.executor.wait(TICK_S)
        for batch in self._started:
            for event in batch.running.events():
                self._take(batch, event)
            if not batch.running.is_alive:
                self._end(batch)
        self._started = [batch for batch in self._started if batch.running.is_alive]
        if self.observer:
            usages = [(batch, batch.running.usage) for batch in self._started]
            self.observer.tick([(batch.nodes[usage.key], usage) for batch, usage in usages if usage.key in batch.nodes])

    def _take(self, batch: _Started, event: Event) -> None:
        if event.kind == "started" and self.observer:
            self.observer.started(batch.nodes[event.key])
        elif event.kind == "ended":
            node = batch.nodes.pop(event.key)
            status = read_status(self.store.work(event.key), event.key)
            if status is None:
                raise StoreError(f"the status of the job {event.key!r} cannot be read; rerun the same command")
            self._check_sources(node)
            self._commit(node, status)
        elif event.kind == "full":
            raise DiskFullError(
                f"the disk of the store {str(self.store.root)!r} is full; free some disk space and rerun "
                "the same command"
            )
        elif event.kind == "changed":
            raise StoreError(f"{event.message}; rerun the same command to make it again")

    def _end(self, batch: _Started) -> None:
        """Put back the jobs that a batch did not reach."""
        for node in batch.nodes.values():
            self._leases.pop(node.key).release()
            self._ready.put_back(node, kind_of(node))

    def _check_sources(self, node: Node) -> None:
        """Raise an error if a plugin was edited while its job ran, because the key describes the earlier state."""
        changed = node.sources.find_changed() if node.sources else None
        if changed is not None:
            remove_tree(self.store.work(node.key))
            raise StoreError(
                f"{str(changed)!r} of the plugin {node.job.plugin.name!r} was changed while the run used it; rerun the "
                "same command to use the changed file"
            )

    def _commit(self, node: Node, status: Status) -> None:
        work = self.store.work(node.key)
        aside = set_aside(node, status, work)
        self.store.commit(node.stage, node.key)
        if aside is not None:
            leave_for_next_try(aside, status, work)
        self._leases.pop(node.key).release()
        self._conclude(node, Outcome(status.state, status.message, status, fresh=True))


def lacks_model(node: Node, status: Status | None, folder: Path) -> bool:
    """Return whether a job is to keep its model, and the record in a folder has none because nobody asked for it."""
    if status is None or status.state != "done" or MODEL in status.artefacts or not keeps_model(node.job):
        return False
    try:
        return not keeps_model(read_job(folder))  # of a plugin that cannot save models, asking again changes nothing
    except StoreError:
        return True
