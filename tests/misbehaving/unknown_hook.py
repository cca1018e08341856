"""Has a hook that nobody calls."""

from misbehaving_base import fit, make_card, predict  # noqa: F401 - hooks
from pertharness import hookimpl

STATE = "invalid"
SAYS = ("predictt",)


@hookimpl
def describe():
    return make_card("unknown_hook")


@hookimpl
def predictt(model):
    return model
