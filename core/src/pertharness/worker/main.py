"""The worker's main: which jobs it is to carry out, and until when."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from pertharness.worker.job_run import USAGE, run_job


def main(arguments: list[str]) -> int:
    """Carry out the jobs in order, or, after ``--warm``, fork a process for each that is asked for; return 0."""
    if arguments[:1] == ["--warm"] and len(arguments) == 2:
        from pertharness.worker.warm import serve

        return serve(int(arguments[1]))
    paths = [Path(argument).absolute() for argument in arguments]
    if not paths or not all(path.is_file() for path in paths):
        print("usage: python -I -m pertharness.worker JOB.json [JOB.json ...]; each must be a file", file=sys.stderr)
        return USAGE
    if parent := os.environ.pop("PERTHARNESS_WATCHER", ""):
        threading.Thread(target=_die_with, args=(int(parent),), daemon=True).start()
    del sys.argv[1:]  # no plugin needs to know of the other jobs
    return next((status for path in paths if (status := run_job(path))), 0)


def _die_with(parent: int) -> None:
    """End this worker and its children when its watcher is gone, where the system does not do so itself (macOS)."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.killpg(os.getpgrp(), signal.SIGKILL)
