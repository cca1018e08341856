"""Run the jobs whose files are named."""

import io
import os
import signal
import sys

from pertharness.worker.job_run import DISK_FULL
from pertharness.worker.main import main

if __name__ == "__main__":
    # Ctrl-C ends a worker at once and without a status; a KeyboardInterrupt that is caught is then a plugin's own.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # In any locale, any text; line by line, so that a worker which dies has said what it printed.
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    status = main(sys.argv[1:])
    if status == DISK_FULL:
        os._exit(status)  # h5py, whose file could not be closed, ends with a segmentation fault where it is let
    sys.exit(status)
