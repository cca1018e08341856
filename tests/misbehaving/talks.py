"""Prints a gigabyte, and then does its work."""

from misbehaving_base import make_card, predict  # noqa: F401 - hooks
from pertharness import hookimpl

STATE = "done"
SAYS = ()


@hookimpl
def describe():
    return make_card("talks")


@hookimpl
def fit(train):
    for _ in range(1000):
        print("x" * 1_000_000)
    return train.X.mean(axis=0)
