"""Exits with status 0 and no answer."""

import os

from misbehaving_base import make_card, predict  # noqa: F401 - hooks
from pertharness import hookimpl

STATE = "crashed"
SAYS = ("exit status 0", "without a result")


@hookimpl
def describe():
    return make_card("leaves_quietly")


@hookimpl
def fit(train):
    os._exit(0)
