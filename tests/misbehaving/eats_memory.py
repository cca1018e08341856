"""Takes memory until it is stopped."""

import time

from misbehaving_base import make_card, predict  # noqa: F401 - hooks
from pertharness import hookimpl

STATE = "crashed"
SAYS = ("MB of memory", "--memory")


@hookimpl
def describe():
    return make_card("eats_memory")


@hookimpl
def fit(train):
    blocks = []
    while True:
        blocks.append(b"x" * 50_000_000)
        time.sleep(0.02)
