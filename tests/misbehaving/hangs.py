"""Never comes back."""

import time

from misbehaving_base import make_card, predict  # noqa: F401 - hooks
from pertharness import hookimpl

STATE = "timeout"
SAYS = ("not finished after", "--timeout")


@hookimpl
def describe():
    return make_card("hangs")


@hookimpl
def fit(train):
    time.sleep(3600)
