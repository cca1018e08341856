"""The warm worker: does the imports that all jobs share, and forks a process for each job.

It never imports a plugin, because code at import time could then affect other jobs. It starts no threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pertharness.contract.cards import PRELOADED
from pertharness.contract.jobs import Job
from pertharness.worker.job_run import run_job
from pertharness.worker.landlock import Grants, restrict
from pertharness.worker.proc import hold_entries
from pertharness.worker.seccomp import close_calls

SET_PARENT_DEATH_SIGNAL = 1
"""Option of prctl(2)."""


class Layer(BaseModel):
    """The rights that the process of one job keeps from its warm worker."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    abi: int
    read: tuple[str, ...]
    listing: tuple[str, ...]
    write: tuple[str, ...]
    devices: tuple[str, ...]

    def apply(self) -> None:
        """Restrict this process."""
        restrict(Grants(self.read, self.listing, self.write, self.devices), self.abi)


class Request(BaseModel):
    """A process to fork: for a job, or without a job a further warm worker with the rights of `layer`.

    Attributes
    ----------
    preload
        Modules to import before the fork; only modules of `PRELOADED` libraries are imported.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: Path | None = None
    layer: Layer | None = None
    filtered: bool = False
    """Whether to install the seccomp filter."""
    variables: dict[str, str] = {}
    """Environment variables, e.g. ``HOME``."""
    preload: tuple[str, ...] = ()
    waits: bool = False
    """Whether the process stays a child of this one, which reports its end and cost, or becomes one of the watcher."""


def serve(descriptor: int) -> int:
    """Import the libraries that jobs need, and answer requests until the watcher closes the socket."""
    import_libraries()
    return answer_requests(socket.socket(fileno=descriptor))


def answer_requests(control: socket.socket) -> int:
    """Fork a process per request and answer with its process id, until the other side closes the socket."""
    while True:
        line, descriptors = _receive(control)
        if not line:
            return 0
        request = Request.model_validate_json(line)
        if request.job is not None:
            _prepare(request.job, request.preload)
        if threading.active_count() > 1:
            print(f"a warm worker must have no threads, this one has {threading.enumerate()}", file=sys.stderr)
            return 1
        gc.freeze()  # includes objects read and imported for this job; see `import_libraries`
        pid = (_fork if request.waits else _fork_for_watcher)(request, control, descriptors)
        for received in descriptors:
            os.close(received)
        _answer(control, {"pid": pid})
        if request.waits:
            _, status, usage = os.wait4(pid, 0)
            cpu_s = usage.ru_utime + usage.ru_stime
            _answer(control, {"status": status, "cpu_s": cpu_s, "max_rss": usage.ru_maxrss})


def _answer(control: socket.socket, message: dict[str, float]) -> None:
    control.sendall(json.dumps(message).encode() + b"\n")


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """Return a line, and the descriptors that were sent with it."""
    line, descriptors = b"", list[int]()
    while not line.endswith(b"\n"):
        part, more, _, _ = socket.recv_fds(control, 1 << 16, 4)
        if not part:
            return b"", descriptors
        line += part
        descriptors += more
    return line, descriptors


def import_libraries() -> None:
    """Import what jobs of all stages need, and exempt it from garbage collection."""
    import anndata  # noqa: F401
    import h5py  # noqa: F401
    import numpy as np  # noqa: F401
    import pandas as pd  # noqa: F401
    import pluggy  # noqa: F401
    import scipy.sparse  # noqa: F401

    from pertharness.contract import cards, predictions, scores, texts  # noqa: F401
    from pertharness.data import canonical, embeddings, halves, streaming  # noqa: F401
    from pertharness.files import full_disk  # noqa: F401
    from pertharness.worker import (  # noqa: F401
        digests,
        external,
        guard,
        hook_search,
        hooks,
        meter,
        observed,
        prediction_checks,
        score_checks,
        stages,
    )  # fmt: skip

    _rehearse()
    gc.collect()
    gc.freeze()  # a collection in a fork would copy all pages of these objects


def _rehearse() -> None:
    """Write and read a tiny dataset, so that libraries do their work of a first use before any fork."""
    import numpy as np
    import pandas as pd
    from anndata import AnnData

    from pertharness.data.canonical import read, write
    from pertharness.worker.digests import digest

    with contextlib.suppress(FileNotFoundError), tempfile.TemporaryDirectory() as folder:
        obs = pd.DataFrame({"perturbation": pd.Categorical(["control"])}, index=["0"])
        write(AnnData(X=np.zeros((1, 1)), obs=obs, var=pd.DataFrame(index=["G"])), Path(folder) / "table.h5ad")
        digest(read(Path(folder) / "table.h5ad").copy())
        obs.to_csv(Path(folder) / "table.csv")
        pd.read_csv(Path(folder) / "table.csv")
    tempfile.tempdir = None  # every job has a folder of its own


def _prepare(path: Path, modules: tuple[str, ...]) -> None:
    """Import and read what similar jobs share, so that forks have it already."""
    from pertharness.worker.stages import preload

    job = Job.model_validate_json(path.read_bytes())
    for module in modules:
        if module not in sys.modules and module.partition(".")[0] in PRELOADED:
            with contextlib.suppress(ImportError):  # the job that needs it will report it
                importlib.import_module(module)
    preload(job)


def _fork(request: Request, control: socket.socket, descriptors: list[int]) -> int:
    """Start a process that ends with this one, and return its process id."""
    pid = os.fork()
    if pid == 0:
        _die_with_parent()
        _run_as_child(request, control, descriptors)
    return pid


def _fork_for_watcher(request: Request, control: socket.socket, descriptors: list[int]) -> int:
    """Start a process whose parent is the watcher, and which ends with it; return its process id.

    A process in between forks it and exits at once, so that the watcher adopts it. So the watcher measures its end and
    its cost itself, and need not trust this process.
    """
    read_end, write_end = os.pipe()
    middle = os.fork()
    if middle == 0:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            os.write(write_end, str(pid).encode())
            os._exit(0)
        os.close(read_end)
        os.close(write_end)
        while os.getppid() == parent:  # until then, it would end with this parent
            time.sleep(0.0001)
        _die_with_parent()
        _run_as_child(request, control, descriptors)
    os.close(write_end)
    answer = os.read(read_end, 32)
    os.close(read_end)
    os.waitpid(middle, 0)
    return int(answer)


def _die_with_parent() -> None:
    """Let the system kill this process when its parent ends (Linux; no other system forks jobs)."""
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


def _run_as_child(request: Request, control: socket.socket, descriptors: list[int]) -> None:
    """Run as the new process: drop what it inherited, do the work, and exit."""
    status = 1
    try:
        os.setsid()
        os.environ.update(request.variables)
        if request.job is None:  # a warm worker receives its end of a socket, and a file for its output
            control.close()
            for number in (1, 2):
                os.dup2(descriptors[1], number)
            os.close(descriptors[1])
        else:
            control.detach()
            os.closerange(3, 4096)  # includes the watcher's socket
        if request.layer is not None:
            request.layer.apply()
            hold_entries()
        if request.filtered:
            close_calls()
        status = answer_requests(socket.socket(fileno=descriptors[0])) if request.job is None else run_job(request.job)
    except BaseException:  # noqa: BLE001 - this process must never continue as its parent
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):  # closed or broken by the plugin
                continue
        os._exit(status)
