"""Asks for an argument that the hook has not."""

from misbehaving_base import make_card, predict  # noqa: F401 - hooks
from pertharness import hookimpl

STATE = "invalid"
SAYS = ("trainn",)


@hookimpl
def describe():
    return make_card("unknown_argument")


@hookimpl
def fit(trainn):
    return trainn
