"""The runner: carries out the nodes of a plan with a local pool of worker processes."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from pertharness.errors import PertharnessError, Skip
from pertharness.files import write_text
from pertharness.host.gpus import find_place, shares_gpu
from pertharness.host.hardware import Gpu
from pertharness.host.lock import Lock
from pertharness.host.nodes import Node, Outcome
from pertharness.host.process import WorkerProcess, start_worker
from pertharness.host.store import JOB, SCRATCH, STATUS, Store, read_status
from pertharness.jobs import State, Status

INTERVAL_S = 0.02
MOST_IN_ONE_PROCESS = 64
"""Of cheap jobs: a crash in one sends at most this many others back to the queue."""


class Observer(Protocol):
    """What a display is told."""

    def planned(self, number: int) -> None:
        """Take note that there are so many more jobs."""

    def started(self, node: Node) -> None:
        """Take note that a job begins."""

    def ended(self, node: Node, outcome: Outcome) -> None:
        """Take note of a job's outcome, fresh or from the store."""

    def tick(self, running: list[WorkerProcess]) -> None:
        """Take note that some time has passed."""


class Runner:
    """Carries out nodes: what the store has is not done again, each job ends in a record, the others go on.

    Parameters
    ----------
    store
        Where records lie.
    slots
        Number of worker processes at a time.
    retry
        States of records that are to be made again.
    observer
        Display.
    gpus
        Those of this machine: each goes to one worker at a time, also where several runs share the store. Without any,
        jobs that are to have one are carried out like the others.
    """

    def __init__(
        self, store: Store, *, slots: int = 1, retry: frozenset[str] = frozenset(), observer: Observer | None = None,
        gpus: tuple[Gpu, ...] = (),
    ) -> None:  # fmt: skip
        self.store = store
        self.slots = slots
        self.retry = retry
        self.observer = observer
        self.gpus = gpus
        self.outcomes: dict[str, Outcome] = {}
        self._waiting: dict[str, Node] = {}
        self._running: list[WorkerProcess] = []

    def run(self, nodes: Iterable[Node]) -> dict[str, Outcome]:
        """Give the outcome of every node, by key.

        Raises
        ------
        DiskFullError
            If the store's disk is full.
        KeyboardInterrupt
            After all workers were ended; what they had not finished is done by the next run.
        """
        self._waiting = {node.key: node for node in nodes}
        try:
            while self._waiting or self._running:
                self._settle()
                self._start()
                for worker in list(self._running):
                    self._collect(worker)
                if self.observer:
                    self.observer.tick(self._running)
                if self._running or self._waiting:
                    time.sleep(INTERVAL_S)
        finally:
            for worker in self._running:
                worker.close()
        return self.outcomes

    def _settle(self) -> None:
        """Give an outcome to all that needs no worker: in the store already, blocked, or not possible here."""
        for key, node in list(self._waiting.items()):
            ready = all(need in self.outcomes for need in node.needs)
            outcome = self._known(node) if ready else None
            if outcome is not None:
                del self._waiting[key]
                self._conclude(node, outcome)

    def _known(self, node: Node) -> Outcome | None:
        for need in node.needs:
            before = self.outcomes[need]
            if before.state != "done":  # the cause's own state and words go down to all that waited for it
                return Outcome(before.state, before.message)
        status = self.store.status(node.stage, node.key)
        if status is not None and status.state not in self.retry:
            return _outcome(status, fresh=False)
        reason = node.preflight() if node.preflight else None
        return Outcome("skipped", reason) if reason else None

    def _conclude(self, node: Node, outcome: Outcome) -> None:
        self.outcomes[node.key] = outcome
        if self.observer:
            self.observer.ended(node, outcome)

    def _start(self) -> None:
        free = self.slots - len(self._running)
        ready = [node for node in self._waiting.values() if all(need in self.outcomes for need in node.needs)]
        while free > 0 and ready:
            first = ready[0]
            place = find_place(first, self.gpus, self.store)
            if place is None:  # until a GPU is free, the others go on
                ready = [node for node in ready if not shares_gpu(node, first)]
                continue
            alike = [node for node in ready if node.cheap and shares(node, first)] if first.cheap else [first]
            # What is alike is spread over the free slots, unless other work waits for these: a process has its price.
            others = len({_process(node) if node.cheap else (node.key,) for node in ready}) - 1
            size = min(MOST_IN_ONE_PROCESS, math.ceil(len(alike) / max(1, free - others)))
            chosen = alike[:size]
            ready = [node for node in ready if node not in chosen]
            locks = {node.key: lock for node in chosen if (lock := self._claim(node)) is not None}
            mine = [node for node in chosen if node.key in locks]
            if mine:
                self._running.append(start_worker(self.store, mine, locks | place.locks, place.visible))
                free -= 1
            else:
                place.release()
            for node in mine:
                del self._waiting[node.key]
                if self.observer:
                    self.observer.started(node)

    def _claim(self, node: Node) -> Lock | None:
        """Lock a job and lay out its folder; None where another run is at it, or where it needs no worker any more."""
        lock = self.store.lock(node.key)
        if lock is None:
            return None
        work = self.store.work(node.key)
        if self._finished_before(node, work):
            lock.release()
            return None
        try:
            lay_out(node, work)
        except PertharnessError as error:
            state: State = "skipped" if isinstance(error, Skip) else "failed"
            status = Status(key=node.key, state=state, type=type(error).__name__, message=str(error))
            write_text(work / STATUS, status.model_dump_json(indent=1))
            self._commit(node, status, lock)
            del self._waiting[node.key]
            return None
        return lock

    def _finished_before(self, node: Node, work: Path) -> bool:
        """Say whether another run finished the job meanwhile, or left it finished but not in its place."""
        found = self.store.status(node.stage, node.key)
        if found is not None and found.state not in self.retry:
            return True
        left = read_status(work, node.key)
        if left is not None and left.state not in self.retry:
            self.store.commit(node.stage, node.key)
            return True
        return False

    def _collect(self, worker: WorkerProcess) -> None:
        for node, status in worker.poll():
            self._commit(node, status, worker.locks.pop(node.key))
        if worker.popen.returncode is not None:
            self._running.remove(worker)
            self._waiting.update({node.key: node for node in worker.nodes})  # it ended before it came to these
            worker.close()

    def _commit(self, node: Node, status: Status, lock: Lock) -> None:
        self.store.commit(node.stage, node.key)
        lock.release()
        self._conclude(node, _outcome(status, fresh=True))


def lay_out(node: Node, work: Path) -> None:
    """Lay out the folder of a job; the scratch folder of an earlier, unfinished try is kept for resuming."""
    work.mkdir(parents=True, exist_ok=True)
    for path in work.iterdir():
        if path.name != SCRATCH:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    write_text(work / JOB, node.job.model_dump_json(indent=1))
    if node.prepare:
        node.prepare(work)


def shares(one: Node, other: Node) -> bool:
    """Say whether two jobs may run in one process."""
    return _process(one) == _process(other)


def _process(node: Node) -> tuple[object, ...]:
    """Give what jobs of one process have in common.

    A model's jobs share one only on the same split: another split trains on what this one holds out, and a score job
    reads the truth; neither may have passed through the process in which a model predicts.
    """
    job = node.job
    split = job.inputs.get("split") if job.stage in ("predictions", "embeddings") else None
    return node.python, job.plugin, job.threads, job.device, job.stage, split, node.gpu_gb


def _outcome(status: Status, *, fresh: bool) -> Outcome:
    return Outcome(status.state, status.message, status, fresh)
