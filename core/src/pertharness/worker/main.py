"""The main function of the worker."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from pertharness.worker.job_run import USAGE, run_job
from pertharness.worker.proc import hold_entries


def main(arguments: list[str]) -> int:
    """Run the jobs in order, or with ``--warm`` fork a process for each requested job; return the exit status."""
    hold_entries()
    if arguments[:1] == ["--warm"] and len(arguments) == 2:
        from pertharness.worker.warm import serve

        return serve(int(arguments[1]))
    paths = [Path(argument).absolute() for argument in arguments]
    if not paths or not all(path.is_file() for path in paths):
        print("usage: python -I -m pertharness.worker JOB.json [JOB.json ...]; each must be a file", file=sys.stderr)
        return USAGE
    if parent := os.environ.pop("PERTHARNESS_WATCHER", ""):
        threading.Thread(target=_die_with, args=(int(parent),), daemon=True).start()
    del sys.argv[1:]  # hides the other jobs from plugins
    return next((status for path in paths if (status := run_job(path))), 0)


def _die_with(parent: int) -> None:
    """Kill this worker and its children when its watcher has ended; needed where the system does not do so (macOS)."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.killpg(os.getpgrp(), signal.SIGKILL)
