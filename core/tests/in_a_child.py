"""Checks in a process of its own, which may give up what it likes."""

import os
import traceback
from collections.abc import Callable


def in_a_child(function: Callable[[], object]) -> None:
    """Check what holds in a process that ends with the check."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
            status = 0
        except BaseException:  # noqa: BLE001 - told by the exit status
            traceback.print_exc()
            status = 1
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
