"""The watcher: starts workers, keeps their limits, ends their processes, and makes the facts of their records.

``python -I -m pertharness.host.execution.watch DESCRIPTOR``: a process of its own, one per seat, that talks to the
runner over a socket. It adopts every process that a job starts, so that none outlives the job; what it writes it has
from files, once these processes are gone. It starts no thread, since it forks.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from pertharness.errors import StoreError
from pertharness.files import sha256_file, write_text
from pertharness.host.execution.batch import Batch, InputFile, Launch, isolation_of
from pertharness.host.execution.sandbox import find_partial, job_grants
from pertharness.host.execution.settle import End, settle, write_status
from pertharness.host.execution.start import WarmWorker, start_alone, start_warm, start_zygote
from pertharness.host.execution.tree import become_subreaper, descendants, end_all, resident_mb
from pertharness.host.hashes import identity_of
from pertharness.jobs import CLAIM, HOME, LOG, OUT, SCRATCH, Cost, Isolation, State
from pertharness.worker import seccomp
from pertharness.worker.landlock import Grants, abi_version
from pertharness.worker.main import DISK_FULL, LOG_TAIL

SAMPLE_S, SHARE = 0.05, 0.005
"""Between two looks at the memory, at least; and what looking may cost, of the time that a job takes."""
USAGE_S = 1.0
"""Between two reports of time and memory."""
LOG_LIMIT = 64_000_000
"""Bytes: more than anybody reads, and little beside the data."""
MOST_DESCRIPTORS = 256
"""Of locks that come with one batch."""
MOST_WARM = 2
Excess = tuple[State, str, str]
"""State, type and message of a job that went over a limit."""


class RunnerGoneError(Exception):
    """The runner has ended: nothing may work on unseen."""


class ChangedError(Exception):
    """An input is not what its record says."""


@dataclass
class Watch:
    """A watcher with the warm workers that it keeps."""

    control: socket.socket
    warm: list[WarmWorker] = field(default_factory=list)
    zygotes: dict[str, WarmWorker] = field(default_factory=dict)
    """By number of threads."""
    sums: dict[tuple[int, ...], str] = field(default_factory=dict)
    """sha256 of files by size and identity."""
    reported: float = 0.0

    def serve(self) -> None:
        """Carry out batches until the runner closes its end."""
        while True:
            message, descriptors = self._receive()
            if message is None:
                return
            batch = Batch.model_validate_json(message)
            try:
                self._carry_out(batch)
            finally:
                for descriptor in descriptors:  # the locks of the jobs
                    os.close(descriptor)
            self._send({"idle": True})

    def _receive(self) -> tuple[bytes | None, list[int]]:
        """Return the next line of the runner, and the descriptors that came with it."""
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

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self.control.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            raise RunnerGoneError from None

    def _carry_out(self, batch: Batch) -> None:
        """Do the jobs of a batch, one after the other; all in one process where they are not forked."""
        for launch in batch.launches:  # a rule is for a folder that is there
            for name in (OUT, SCRATCH, HOME):
                (launch.folder / name).mkdir(exist_ok=True)
        groups = [(launch,) for launch in batch.launches] if batch.warm else [batch.launches]
        for launches in groups:
            try:
                self._attempt(batch, launches)
            except ChangedError as error:
                self._send({"changed": launches[0].job.key, "message": str(error)})
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
                self._send({"full": launches[0].job.key})
        if batch.launches[0].is_confined or len(self.warm) > MOST_WARM:
            self._close_warm(keep=() if batch.launches[0].is_confined else (batch.kind,))

    def _attempt(self, batch: Batch, launches: tuple[Launch, ...]) -> None:
        sums = {launch.job.key: self._sums(launch) for launch in launches}
        with tempfile.TemporaryFile() as output:
            ends, grants, worker = self._run(batch, launches, output)
        for launch, end in zip(launches, ends, strict=True):
            if end is None:  # it was not come to
                self._send({"left": launch.job.key})
                continue
            if end.state == "crashed" and end.type == str(DISK_FULL):
                raise OSError(errno.ENOSPC, "no space left for the job's files")
            launch.folder.mkdir(exist_ok=True)  # a plugin that is not sandboxed can remove it
            isolation = self._isolation(batch, launch, grants)
            status = settle(launch, end, isolation, sums[launch.job.key], others_live=worker is not None)
            self._check_unchanged(launch, sums[launch.job.key])
            write_status(launch, status)
            self._send({"ended": launch.job.key})

    def _run(
        self, batch: Batch, launches: tuple[Launch, ...], output: IO[bytes]
    ) -> tuple[list[End | None], Grants, WarmWorker | None]:
        """Run the process of some jobs to its end, and end all that it left."""
        if not batch.warm:
            popen, grants = start_alone(batch, output)
            popen.returncode = 0  # waited for below, by its number
            return _Group(self, launches, popen.pid, output, keep=self._kept()).wait(), grants, None
        launch = launches[0]
        worker = self._warm_worker(batch)
        if worker is None:
            return [self._not_started(batch, "")], Grants(), None
        grants = job_grants(launch, worker.base, cuda=False, shared_memory=False)
        pid = worker.fork_job(launch, grants if batch.mechanism == "landlock" else None)
        if pid is None:
            words = read_end(worker.output)
            self._close_warm()
            end_all(self._kept())
            return [self._not_started(batch, words)], grants, None
        worker.output.seek(0, os.SEEK_END)
        group = _Group(self, launches, pid, worker.output, keep=self._kept(), began=worker.output.tell())
        return group.wait(), grants, worker

    def _not_started(self, batch: Batch, words: str) -> End:
        last = f"; its last words: {last_line(words)}" if words.strip() else ""
        message = f"the interpreter {str(batch.python)!r} did not start the job's process{last}"
        return End(Cost(wall_s=0.0, cpu_s=0.0, peak_rss_mb=0.0), _now(), "crashed", "Start", message, words)

    def _kept(self) -> tuple[int, ...]:
        """Return the processes that live on when a job has ended."""
        return tuple(worker.pid for worker in (*self.warm, *self.zygotes.values()))

    def _warm_worker(self, batch: Batch) -> WarmWorker | None:
        """Return the warm worker for a batch; jobs that must not reach the truth get one for their batch alone."""
        for worker in self.warm:
            if worker.kind == batch.kind:
                return worker
        started = start_warm(batch, self._zygote(batch))
        if started is not None:
            self.warm.append(started)
        return started

    def _zygote(self, batch: Batch) -> WarmWorker | None:
        """Return what warm workers of the harness's own interpreter are forked from; None for another interpreter."""
        if batch.python != Path(sys.executable):
            return None
        threads = str(batch.launches[0].job.threads)  # numpy has read it when it was imported
        if threads not in self.zygotes:
            self.zygotes[threads] = start_zygote(batch)
        return self.zygotes[threads]

    def _close_warm(self, keep: tuple[str, ...] = ()) -> None:
        for worker in self.warm:
            if worker.kind not in keep:
                worker.close()
        self.warm = [worker for worker in self.warm if worker.kind in keep]

    def close(self) -> None:
        """End all processes."""
        with contextlib.suppress(TimeoutError):
            end_all()

    def _isolation(self, batch: Batch, launch: Launch, grants: Grants) -> Isolation:
        partial = []
        if launch.is_confined and batch.mechanism != "none":
            own = [str(launch.folder), *(str(launch.folder / name) for name in (OUT, SCRATCH, HOME))]
            own += [str(file.path.resolve()) for file in launch.inputs]
            partial = find_partial(grants, [*batch.guarded, launch.folder.parent], own)
            if "/dev/shm" in grants.write and not batch.warm and not _own_memory():
                partial.append("/dev/shm, through which jobs that run at the same time can exchange data")
        return isolation_of(
            batch.mechanism,
            abi_version(),
            seccomp=batch.mechanism != "none" and seccomp.is_supported(),
            partial=partial,
        )

    def _sums(self, launch: Launch) -> dict[str, str]:
        """Return the sum of each input by role, read again where anything about the file is not as it was.

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
        """Return the sum that a file has now, which is read only where anything about it is not as it was."""
        try:
            facts = file.path.stat()
        except OSError as error:
            raise ChangedError(f"{str(file.path)!r} is gone: {error.strerror}") from None
        identity = identity_of(facts)
        if file.sha256 and identity == file.identity:
            return file.sha256
        known = (facts.st_size, *identity)
        if known not in self.sums:
            self.sums[known] = sha256_file(file.path)
        return self.sums[known]

    def _check_unchanged(self, launch: Launch, before: dict[str, str]) -> None:
        """Raise where an input is another one than before the job, which may have read either, or a mixture."""
        for file in launch.inputs:
            if self._present_sum(file) != before[file.role]:
                raise ChangedError(f"{str(file.path)!r} was changed while a job read it")

    def report(self, launch: Launch, since: float, rss_mb: float) -> None:
        """Send what a job has taken so far, now and then."""
        if time.monotonic() - self.reported > USAGE_S:
            self.reported = time.monotonic()
            self._send({"usage": launch.job.key, "seconds": self.reported - since, "rss_mb": rss_mb})


@dataclass
class _Group:
    """The process of one or more jobs while it runs, and all that it starts."""

    watch: Watch
    launches: tuple[Launch, ...]
    pid: int
    output: IO[bytes]
    keep: tuple[int, ...]
    began: int = 0
    """Where in `output` its own words begin."""
    peak_mb: float = 0.0
    rss_mb: float = 0.0

    def wait(self) -> list[End | None]:
        """Return how each job ended; None for one that the process did not come to."""
        ends: list[End | None] = []
        for launch in self.launches:
            self.watch._send({"started": launch.job.key})
            since, started = time.monotonic(), _now()
            note = json.dumps({"pid": self.pid, "started": started})
            with contextlib.suppress(FileNotFoundError):  # removed by the job, where it is not sandboxed
                write_text(launch.folder / "started.json", note, synced=False)
            last = launch is self.launches[-1]
            excess, code = self._until_end(launch, since, last=last)
            if not excess and code is None:  # it goes on to the next job
                cost = Cost(wall_s=time.monotonic() - since, cpu_s=0.0, peak_rss_mb=self.peak_mb)
                ends.append(End(cost, started))
                continue
            wall_s = time.monotonic() - since
            ends.append(self._end(launch, excess, code, wall_s, started))
            break
        return ends + [None] * (len(self.launches) - len(ends))

    def _until_end(self, launch: Launch, since: float, *, last: bool) -> tuple[Excess | None, int | None]:
        """Watch the process until it ends, comes to the next job or goes too far."""
        with _ending(self.pid) as descriptor:
            pause = SAMPLE_S
            while True:
                if self._wait(descriptor, pause):
                    return None, 0
                if not last and (launch.folder / OUT / CLAIM).exists():
                    return None, None
                before = time.thread_time()
                self._sample(launch, since)
                if excess := self._excess(launch, since):
                    return excess, None
                pause = max(SAMPLE_S, (time.thread_time() - before) / SHARE)
                if launch.timeout_s is not None:
                    pause = min(pause, max(0.01, since + launch.timeout_s - time.monotonic()))

    def _wait(self, descriptor: int, pause: float) -> bool:
        """Return whether the process ended within a time.

        Raises
        ------
        RunnerGoneError
            If the runner closed its end.
        """
        watched = [self.watch.control] + ([descriptor] if descriptor >= 0 else [])
        ready, _, _ = select.select(watched, [], [], pause)
        if self.watch.control in ready:
            raise RunnerGoneError
        if descriptor >= 0:
            return descriptor in ready
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _sample(self, launch: Launch, since: float) -> None:
        self.rss_mb = resident_mb(descendants(os.getpid(), self.keep))
        self.peak_mb = max(self.peak_mb, self.rss_mb)
        _cut(launch.folder / OUT / LOG)
        self.watch.report(launch, since, self.rss_mb)

    def _excess(self, launch: Launch, since: float) -> Excess | None:
        """Return state, type and message where a job is over one of its limits."""
        if launch.timeout_s is not None and time.monotonic() - since >= launch.timeout_s:
            message = f"not finished after {launch.timeout_s:g} s; raise --timeout, or see in the log where it hangs"
            return "timeout", "Timeout", message
        if launch.memory_mb is not None and self.rss_mb > launch.memory_mb:
            used = f"used {self.rss_mb:.0f} MB of memory, the limit is {launch.memory_mb:.0f} MB"
            return "crashed", "MemoryLimit", f"{used}; raise --memory if the machine has more"
        return None

    def _end(self, launch: Launch, excess: Excess | None, code: int | None, wall_s: float, started: str) -> End:
        """End all processes of the job, and say how it ended and what it cost."""
        if excess:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        _, wait_status, usage = os.wait4(self.pid, 0)
        code = os.waitstatus_to_exitcode(wait_status)
        rest = end_all(self.keep)
        if rest.killed:
            self._note_left_behind(launch, rest.killed)
        largest_mb = usage.ru_maxrss / (1e3 if sys.platform == "linux" else 1e6)
        cost = Cost(
            wall_s=wall_s, cpu_s=usage.ru_utime + usage.ru_stime + rest.cpu_s,
            peak_rss_mb=max(self.peak_mb, largest_mb),
        )  # fmt: skip
        # It may have finished at the last moment, or have died of a library that ends badly after all was done.
        if (launch.folder / OUT / CLAIM).exists():
            return End(cost, started)
        if excess:
            return End(cost, started, *excess, output=self._words())
        return End(cost, started, "crashed", *self._death(launch, code), output=self._words())

    def _note_left_behind(self, launch: Launch, number: int) -> None:
        with contextlib.suppress(OSError), (launch.folder / OUT / LOG).open("a", encoding="utf-8") as log:
            log.write(f"pertharness: {number} processes were left behind and are ended\n")

    def _death(self, launch: Launch, code: int) -> tuple[str, str]:
        """Return type and message for a process that ended without a claim."""
        if code == DISK_FULL:
            return str(DISK_FULL), ""
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"number {-code}"
            hint = "; this is how the system ends a process when memory runs out" if name == "SIGKILL" else ""
            return name, f"the worker was ended by the signal {name}{hint}"
        words = last_line(_tail(launch.folder / OUT / LOG) + self._words())
        last = f"; its last words: {words}" if words else ""
        return "Exit", f"the worker ended with exit status {code} and without an answer{last}"

    def _words(self) -> str:
        return read_end(self.output, self.began)


@contextlib.contextmanager
def _ending(pid: int) -> Iterator[int]:
    """Return a descriptor that is readable once a process has ended; -1 where the system has none."""
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        yield -1
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _own_memory() -> bool:
    from pertharness.host.execution.start import can_have_own_memory

    return can_have_own_memory()


def _cut(log: Path) -> None:
    """Keep the beginning of a log that grows without end: what the plugin prints next follows it."""
    with contextlib.suppress(OSError):
        if not log.is_symlink() and log.stat().st_size > LOG_LIMIT:
            with log.open("ab") as file:  # in the worker's own mode: each side writes at what is then the end
                file.truncate(LOG_LIMIT // 2)
                file.write(b"\n[pertharness: the log was cut here, it grew too large]\n")


def _tail(log: Path) -> str:
    """Return the end of a log that nobody writes any more."""
    try:
        descriptor = os.open(log, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        return read_end(file)


def read_end(file: IO[bytes], start: int = 0) -> str:
    """Return the end of what a file holds from `start` on."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(start, size - LOG_TAIL))
    return file.read(LOG_TAIL).decode("utf-8", "replace")


def last_line(text: str) -> str:
    """Return the last line that holds anything."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def main(arguments: list[str]) -> int:
    """Watch jobs for the runner at the other end of a socket; its descriptor is the only argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the runner, which then closes its end
    become_subreaper()
    watch = Watch(socket.socket(fileno=int(arguments[0])))
    try:
        watch.serve()
    except (RunnerGoneError, StoreError):
        return 0
    finally:
        watch.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
