"""One of two plugins of one name."""

from misbehaving_base import fit, make_card, predict  # noqa: F401 - hooks
from pertharness import hookimpl

STATE = "invalid"
SAYS = ("two plugins are called", "uninstall")


@hookimpl
def describe():
    return make_card("same_name")
