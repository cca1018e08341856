"""Raises while it predicts."""

from misbehaving_base import fit, make_card  # noqa: F401 - hooks
from pertharness import hookimpl

STATE = "failed"
SAYS = ("KeyError", "KLF1")


@hookimpl
def describe():
    return make_card("raises_in_predict")


@hookimpl
def predict(model, controls, queries):
    raise KeyError("KLF1")
