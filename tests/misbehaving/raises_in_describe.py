"""Cannot even describe itself."""

from misbehaving_base import fit, predict  # noqa: F401 - hooks
from pertharness import hookimpl

STATE = "failed"
SAYS = ("RuntimeError", "nothing to say")


@hookimpl
def describe():
    raise RuntimeError("nothing to say")
