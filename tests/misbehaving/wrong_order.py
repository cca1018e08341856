"""Predicts the genes in another order."""

from misbehaving_base import fit, make_card  # noqa: F401 - hooks
from pertharness import hookimpl, make_prediction

STATE = "invalid"
SAYS = ("another order",)


@hookimpl
def describe():
    return make_card("wrong_order")


@hookimpl
def predict(model, controls, queries):
    return make_prediction(dict.fromkeys(queries, model[::-1]), controls.var_names[::-1])
