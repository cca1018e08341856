"""Run the jobs whose files are given as arguments."""

import io
import os
import signal
import sys

from pertharness.worker.job_run import DISK_FULL
from pertharness.worker.main import main

if __name__ == "__main__":
    # Ctrl-C kills a worker at once, without a status. So a KeyboardInterrupt that is caught was raised by the plugin.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Print any text in any locale, and line by line, so that the output of a worker that dies is complete.
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    status = main(sys.argv[1:])
    if status == DISK_FULL:
        os._exit(status)  # a normal exit would end in a segmentation fault of h5py, whose file cannot be closed
    sys.exit(status)
