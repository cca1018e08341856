"""Cannot run here, and says so: no fault."""

from misbehaving_base import make_card, predict  # noqa: F401 - hooks
from pertharness import Skip, hookimpl

STATE = "skipped"
SAYS = ("needs a telescope",)


@hookimpl
def describe():
    return make_card("skips")


@hookimpl
def fit(train):
    raise Skip("needs a telescope")
