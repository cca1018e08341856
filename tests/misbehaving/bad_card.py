"""Fills a field of its card with nonsense."""

from misbehaving_base import fit, make_card, predict  # noqa: F401 - hooks
from pertharness import hookimpl

STATE = "failed"
SAYS = ("protocol",)


@hookimpl
def describe():
    return make_card("bad_card", protocol="the newest")
