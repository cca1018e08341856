"""Was written for a later version of the hooks."""

from misbehaving_base import fit, make_card, predict  # noqa: F401 - hooks
from pertharness import hookimpl

STATE = "invalid"
SAYS = ("protocol 99",)


@hookimpl
def describe():
    return make_card("later_protocol", protocol=99)
