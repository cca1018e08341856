"""Raises while it is fitted."""

from misbehaving_base import make_card, predict  # noqa: F401 - hooks
from pertharness import hookimpl

STATE = "failed"
SAYS = ("ValueError", "no such luck")


@hookimpl
def describe():
    return make_card("raises_in_fit")


@hookimpl
def fit(train):
    raise ValueError("no such luck")
