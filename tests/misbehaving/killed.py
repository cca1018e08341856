"""Is killed by a signal."""

import os
import signal

from misbehaving_base import make_card, predict  # noqa: F401 - hooks
from pertharness import hookimpl

STATE = "crashed"
SAYS = ("SIGKILL",)


@hookimpl
def describe():
    return make_card("killed")


@hookimpl
def fit(train):
    os.kill(os.getpid(), signal.SIGKILL)
