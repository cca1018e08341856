"""The watcher: starts workers, keeps their limits, ends their processes, and makes the facts of their records.

``python -I -m pertharness.host.execution.watch DESCRIPTOR``: a process of its own, one per seat, that talks to the
runner over a socket. ``... watch BATCH.json`` carries out that one batch and reports to the file ``BATCH.events``, a
line each: for executors whose jobs run where no socket leads. It adopts every process that a job starts, so that none
outlives the job; what it writes it has from files, once these processes are gone. It starts no thread, since it forks.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pertharness.contract.errors import StoreError
from pertharness.contract.jobs import HOME, OUT, SCRATCH, Cost, Isolation
from pertharness.files.trees import remove_tree
from pertharness.files.whole import sha256_file
from pertharness.host.execution.batch import Batch, InputFile, Launch, isolation_of, left_open
from pertharness.host.execution.caches import lay_out_caches
from pertharness.host.execution.limits import Group, RunnerGoneError, last_line, now
from pertharness.host.execution.plain_files import read_end
from pertharness.host.execution.sandbox import find_partial, job_grants
from pertharness.host.execution.settle import End, settle, write_status
from pertharness.host.execution.start import WarmWorker, can_have_own_memory, start_alone, start_warm, start_zygote
from pertharness.host.execution.tree import become_subreaper, end_all, has_ended
from pertharness.host.store.hashes import last_write, look_at
from pertharness.worker import seccomp
from pertharness.worker.job_run import DISK_FULL
from pertharness.worker.landlock import Grants, abi_version

MOST_DESCRIPTORS = 256
"""Largest number of leases that come with one batch."""
EVENTS = ".events"
"""Suffix of the file with the events of a batch that came from a file."""
MOST_WARM = 3
"""Number of warm workers that are kept for later batches, of jobs that may read everything."""


class ChangedError(Exception):
    """An input differs from its record."""


@dataclass
class Watch:
    """A watcher with the warm workers that it keeps."""

    control: socket.socket
    """Socket that the runner closes when it ends."""
    report: Callable[[dict[str, Any]], None]
    """Sends a message to the runner."""
    short_names: Path
    """A folder of links to the homes of jobs."""
    warm: list[WarmWorker] = field(default_factory=list)
    zygote: WarmWorker | None = None
    """The process that warm workers of the harness's own interpreter are forked from."""
    sums: dict[tuple[int, ...], str] = field(default_factory=dict)
    """sha256 of files by size and identity."""
    touched: set[str] = field(default_factory=set)
    """Keys of jobs that are repeated because an input was written while they ran."""

    def serve(self) -> None:
        """Carry out batches until the runner closes its end."""
        while True:
            message, descriptors = self._receive()
            if message is None:
                return
            batch = Batch.model_validate_json(message)
            try:
                self.carry_out(batch)
            finally:
                for descriptor in descriptors:  # the leases of the jobs
                    os.close(descriptor)
            self.report({"idle": True})

    def _receive(self) -> tuple[bytes | None, list[int]]:
        """Return the next line of the runner, with the descriptors that came with it."""
        message, descriptors = b"", list[int]()
        while not message.endswith(b"\n"):
            part, more, _, _ = socket.recv_fds(self.control, 1 << 16, MOST_DESCRIPTORS)
            if not part:
                return None, descriptors
            message += part
            descriptors += more
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        return message, descriptors

    def carry_out(self, batch: Batch) -> None:
        """Do the jobs of a batch, one after the other."""
        laid_out = tuple(self._lay_out(launch, str(number)) for number, launch in enumerate(batch.launches))
        batch = batch.model_copy(update={"launches": laid_out})
        groups = [batch.launches] if batch.shared else [(launch,) for launch in batch.launches]
        for launches in groups:
            try:
                self._attempt(batch, launches)
            except ChangedError as error:
                self.report({"changed": launches[0].job.key, "message": str(error)})
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
                self.report({"full": launches[0].job.key})
        # One split trains on what another holds out: no job of another batch is forked from the same warm worker.
        if batch.launches[0].is_confined:
            self._close_warm(batch.kind)
        for worker in self.warm[:-MOST_WARM]:
            self._close_warm(worker.kind)

    def _lay_out(self, launch: Launch, name: str) -> Launch:
        """Make the folders of a job, because rules need existing folders, and give its home a short name."""
        for folder in (OUT, SCRATCH, HOME):
            (launch.folder / folder).mkdir(exist_ok=True)
        temporary = self.short_names / name
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(launch.folder / HOME)
        return launch.model_copy(update={"temporary": temporary})

    def _attempt(self, batch: Batch, launches: tuple[Launch, ...]) -> None:
        times = {launch.job.key: _times(launch) for launch in launches}
        sums = {launch.job.key: self._sums(launch) for launch in launches}
        for launch in launches:
            if launch.caches is not None:
                lay_out_caches(launch.caches, launch.folder / HOME)
        with tempfile.TemporaryFile() as output:
            ends, grants, worker = self._run(batch, launches, output)
        for launch, end in zip(launches, ends, strict=True):
            if end is None:  # it was not reached
                self.report({"left": launch.job.key})
                continue
            if end.state == "crashed" and end.type == str(DISK_FULL):
                raise OSError(errno.ENOSPC, "no space left for the job's files")
            if launch.folder.is_symlink() or not launch.folder.is_dir():  # a plugin that is not sandboxed can remove it
                remove_tree(launch.folder)
                launch.folder.mkdir()
            isolation = self._isolation(batch, launch, grants)
            status = settle(launch, end, isolation, sums[launch.job.key], others_live=worker is not None)
            self._check_unchanged(launch, sums[launch.job.key])
            if self._was_touched(launch, times[launch.job.key]):  # it may have read what has been replaced again
                self._close_warm(batch.kind)
                self.report({"left": launch.job.key})
                continue
            write_status(launch, status)
            self.report({"ended": launch.job.key})

    def _run(
        self, batch: Batch, launches: tuple[Launch, ...], output: IO[bytes]
    ) -> tuple[list[End | None], Grants, WarmWorker | None]:
        """Run the process of some jobs until it ends, and end all processes that it left."""
        if not batch.warm:
            popen, grants = start_alone(batch.model_copy(update={"launches": launches}), output)
            popen.returncode = 0  # waited for below, by its number
            wrapped = batch.mechanism == "bwrap"
            group = Group(self.control, self.report, launches, popen.pid, output, self._kept(), wrapped=wrapped)
            return group.wait(), grants, None
        launch = launches[0]
        worker = self._warm_worker(batch)
        if worker is None:
            return [self._not_started(batch, "")], Grants(), None
        grants = job_grants(launch, worker.base, cuda=False, shared_memory=False)
        pid = worker.fork_job(launch, grants if batch.mechanism == "landlock" else None)
        if pid is None:
            words = read_end(worker.output)
            self._close_warm(batch.kind)
            end_all(self._kept())
            return [self._not_started(batch, words)], grants, None
        worker.output.seek(0, os.SEEK_END)
        parent, began = worker if worker.is_own else None, worker.output.tell()
        ends = Group(self.control, self.report, launches, pid, worker.output, self._kept(), parent, began).wait()
        if has_ended(worker.pid):  # killed, with its child: the next job gets a new one
            self._close_warm(batch.kind)
        return ends, grants, worker

    def _not_started(self, batch: Batch, words: str) -> End:
        last = f"; its last output: {last_line(words)}" if words.strip() else ""
        message = f"the interpreter {str(batch.python)!r} did not start the job's process{last}"
        if "Permission denied" in last and batch.mechanism != "none":
            message += "; name an interpreter itself, not a script that starts one, or pass --isolation none"
        return End(Cost(wall_s=0.0, cpu_s=0.0, peak_rss_mb=0.0), now(), "crashed", "Start", message, words)

    def _kept(self) -> tuple[int, ...]:
        """Return the processes that live on when a job has ended."""
        zygotes = [self.zygote] if self.zygote else []
        return tuple(worker.pid for worker in (*self.warm, *zygotes))

    def _warm_worker(self, batch: Batch) -> WarmWorker | None:
        """Return the warm worker for a batch; jobs that must not reach the truth get one for their batch only."""
        for worker in self.warm:
            if worker.kind == batch.kind:
                self.warm.remove(worker)
                self.warm.append(worker)  # the most recently used one is last
                return worker
        started = start_warm(batch, self._zygote(batch))
        if started is not None:
            self.warm.append(started)
        return started

    def _zygote(self, batch: Batch) -> WarmWorker | None:
        """Return the process that warm workers of the harness's interpreter are forked from; None for others."""
        if batch.python != Path(sys.executable):
            return None
        if self.zygote is None:
            self.zygote = start_zygote(batch)
        return self.zygote

    def _close_warm(self, kind: str) -> None:
        for worker in self.warm:
            if worker.kind == kind:
                worker.close()
        self.warm = [worker for worker in self.warm if worker.kind != kind]

    def close(self) -> None:
        """End all processes."""
        with contextlib.suppress(TimeoutError):
            end_all()

    def _isolation(self, batch: Batch, launch: Launch, grants: Grants) -> Isolation:
        partial = []
        filtered = batch.mechanism != "none" and seccomp.is_supported()
        if launch.is_confined and batch.mechanism != "none":
            own = [str(launch.folder), *(str(launch.folder / name) for name in (OUT, SCRATCH, HOME))]
            own += [str(file.path.resolve()) for file in launch.inputs]
            partial = find_partial(grants, [*batch.guarded, launch.folder.parent], own)
            partial += left_open(batch.mechanism, abi_version(), seccomp=filtered)
            shares_memory = batch.mechanism == "landlock" and "/dev/shm" in grants.write and not batch.warm
            if shares_memory and not can_have_own_memory():
                partial.append("/dev/shm, through which jobs that run at the same time can exchange data")
        return isolation_of(batch.mechanism, abi_version(), seccomp=filtered, partial=partial)

    def _sums(self, launch: Launch) -> dict[str, str]:
        """Return the sum of each input by role, read again if anything about the file has changed.

        Raises
        ------
        ChangedError
            If one is not what its record says.
        """
        return {file.role: self._sum(file) for file in launch.inputs}

    def _sum(self, file: InputFile) -> str:
        digest = self._present_sum(file)
        if file.sha256 and digest != file.sha256:
            raise ChangedError(f"{str(file.path)!r} is not the file that its record describes")
        return digest

    def _present_sum(self, file: InputFile) -> str:
        """Return the sum that a file has now, which is read only if anything about it has changed."""
        try:
            look = look_at(file.path)
        except OSError as error:
            raise ChangedError(f"{str(file.path)!r} is gone: {error.strerror}") from None
        if file.sha256 and look[1:] == file.identity:
            return file.sha256
        if look not in self.sums:
            self.sums[look] = sha256_file(file.path)
        return self.sums[look]

    def _was_touched(self, launch: Launch, before: dict[str, int]) -> bool:
        """Return whether an input was written while a job ran, but kept its content: then the job is repeated.

        Only once: if it happens again, the job itself, not sandboxed, opens its input for writing.
        """
        if _times(launch) == before or launch.job.key in self.touched:
            return False
        self.touched.add(launch.job.key)
        return True

    def _check_unchanged(self, launch: Launch, before: dict[str, str]) -> None:
        """Raise an error if an input changed during the job, which may have read either content, or a mixture."""
        for file in launch.inputs:
            if self._present_sum(file) != before[file.role]:
                raise ChangedError(f"{str(file.path)!r} was changed while a job read it")


def _times(launch: Launch) -> dict[str, int]:
    """Return when each input was last written, without those that no longer exist. Another link to it is no change."""
    times = {}
    for file in launch.inputs:
        with contextlib.suppress(OSError):
            times[str(file.path)] = last_write(file.path)
    return times


def main(arguments: list[str]) -> int:
    """Watch jobs for the runner at the other end of a socket, whose descriptor is the argument, or those of a file."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the runner, which then closes its end
    become_subreaper()
    with tempfile.TemporaryDirectory(prefix="ph-", ignore_cleanup_errors=True) as short_names:
        if arguments[0].isdecimal():
            control = socket.socket(fileno=int(arguments[0]))
            watch = Watch(control, functools.partial(_send, control), Path(short_names))
            return _until_end(watch, watch.serve)
        path = Path(arguments[0])
        batch = Batch.model_validate_json(path.read_bytes())
        control, _other_end = socket.socketpair()  # never closed: whatever ends this process also ends the jobs
        with path.with_suffix(EVENTS).open("a", encoding="utf-8") as events:
            watch = Watch(control, functools.partial(_write, events), Path(short_names))
            return _until_end(watch, lambda: watch.carry_out(batch))


def _until_end(watch: Watch, work: Callable[[], None]) -> int:
    try:
        work()
    except (RunnerGoneError, StoreError):
        return 0
    finally:
        watch.close()
    return 0


def _send(control: socket.socket, message: dict[str, Any]) -> None:
    try:
        control.sendall(json.dumps(message).encode() + b"\n")
    except OSError:
        raise RunnerGoneError from None


def _write(events: IO[str], message: dict[str, Any]) -> None:
    """Write a message as one line, which readers see whole or not at all."""
    events.write(json.dumps(message) + "\n")
    events.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
